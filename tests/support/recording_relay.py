"""A TCP relay that records what clients send to a server."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socket import SHUT_RDWR, create_connection, socket


class RecordingRelay(socketserver.ThreadingTCPServer):
    """A relay to one server.

    Attributes:
        sent: the bytes that all clients have sent.
    """

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Client)
        self.target = port
        self.sent = bytearray()

    @property
    def port(self) -> int:
        """The port on which the relay listens."""
        return int(self.server_address[1])


class _Client(socketserver.BaseRequestHandler):
    server: RecordingRelay
    request: socket

    def handle(self) -> None:
        with create_connection(("127.0.0.1", self.server.target)) as server:
            answers = threading.Thread(target=_copy, args=(server, self.request), daemon=True)
            answers.start()
            _copy(self.request, server, self.server.sent)
            answers.join()


def _copy(source: socket, sink: socket, seen: bytearray | None = None) -> None:
    with suppress(OSError):  # a side closed its connection
        while data := source.recv(65536):
            if seen is not None:
                seen += data
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(SHUT_RDWR)


@contextmanager
def recording_relay(port: int) -> Iterator[RecordingRelay]:
    """Run a relay to a port of this machine."""
    with RecordingRelay(port) as relay:
        thread = threading.Thread(target=relay.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield relay
        finally:
            relay.shutdown()
            thread.join()
