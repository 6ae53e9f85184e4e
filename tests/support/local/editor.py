"""An editor that debugs: a small client of the Debug Adapter Protocol."""

from __future__ import annotations

import json
import socket
from types import TracebackType
from typing import Any, Self

from tests.support.patience import HANG_SECONDS


class Editor:
    """A client that is attached to a port of debugpy.

    Args:
        port: the port on loopback.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=HANG_SECONDS)
        self._file = self._socket.makefile("rb")
        self._number = 0

    @classmethod
    def connected(cls, port: int) -> Self | None:
        """Return a connected client; None if nobody listens yet."""
        try:
            return cls(port)
        except ConnectionRefusedError:
            return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        self._socket.close()

    def attach(self) -> None:
        """Attach to the process."""
        self.ask("initialize", adapterID="test", pathFormat="path")
        self._send("attach", {"justMyCode": True})
        self.event("initialized")
        self.ask("configurationDone")

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send a request, and return the body of its response."""
        number = self._send(command, arguments)
        while True:
            message = self._receive()
            if message["type"] == "response" and message["request_seq"] == number:
                assert message["success"], message
                body: dict[str, Any] = message.get("body") or {}
                return body

    def event(self, name: str) -> dict[str, Any]:
        """Wait for an event, and return its body."""
        while True:
            message = self._receive()
            if message["type"] == "event" and message["event"] == name:
                body: dict[str, Any] = message.get("body") or {}
                return body

    def _send(self, command: str, arguments: dict[str, Any]) -> int:
        self._number += 1
        message = {"seq": self._number, "type": "request", "command": command}
        body = json.dumps({**message, "arguments": arguments}).encode()
        self._socket.sendall(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        return self._number

    def _receive(self) -> dict[str, Any]:
        length = 0
        while line := self._file.readline().strip():
            length = int(line.partition(b":")[2])
        assert length, "the debugger closed the connection"
        message: dict[str, Any] = json.loads(self._file.read(length))
        return message
