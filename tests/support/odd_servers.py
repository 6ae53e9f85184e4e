"""Servers that answer in the ways in which real servers fail."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"


class _Status(BaseHTTPRequestHandler):
    """Answers `/503` with status 503 and `/503/7` with `Retry-After: 7` as well."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        _, status, *pause = self.path.split("/")
        self.send_response(int(status))
        if pause:
            self.send_header("Retry-After", pause[0])
        body = b"<html>gateway</html>"
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@contextmanager
def status_server() -> Iterator[int]:
    """Run an HTTP server and yield its port; the path says the answer."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Status) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def rude_server(answer: bytes, *, reads: bool) -> Iterator[int]:
    """Run a server that sends the answer and closes each connection, and yield its port.

    Args:
        answer: what the server sends.
        reads: whether the server first reads what the client sends.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):  # the listener was closed
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        if reads:
                            connection.recv(65536)
                        connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def odd_servers() -> Iterator[dict[str, int]]:
    """Run one server of each kind, and yield the ports by kind; nothing listens on `closed`."""
    with ExitStack() as stack:
        open_ = stack.enter_context
        yield {
            "closed": 1,
            "http": open_(status_server()),
            "junk": open_(rude_server(b"junk\r\n\r\n", reads=True)),
            "cut": open_(rude_server(_CUT, reads=True)),
            "hangs up": open_(rude_server(b"", reads=True)),
            "closes": open_(rude_server(b"", reads=False)),
            "smtp": open_(rude_server(b"421 busy\r\n", reads=False)),
        }
