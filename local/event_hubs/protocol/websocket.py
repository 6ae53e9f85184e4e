"""AMQP over WebSocket (RFC 6455) for networks that allow only HTTP, without a socket.

A connection that begins with GET is treated as a WebSocket, on the same port and with any path.
The binary messages carry AMQP bytes and may split frames at any byte. The `websockets` package
implements the protocol.
"""

from __future__ import annotations

from collections.abc import Sequence

from websockets.exceptions import NegotiationError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

MIN_REQUEST = 4
SUBPROTOCOLS = ("amqp", "amqpwsb10")  # the standard's name, and the name in Microsoft's clients
MAX_FRAME_BYTES = 4 * 1024 * 1024
"""The largest accepted WebSocket frame; a frame is buffered until the frame is complete."""


def is_http(beginning: bytes) -> bool:
    """Return whether a connection that begins with these bytes may be HTTP."""
    return beginning[:MIN_REQUEST] == b"GET "[: len(beginning)]


class WebSocketServer:
    """The server side of one WebSocket, including the handshake."""

    def __init__(self) -> None:
        self._protocol = ServerProtocol(
            select_subprotocol=_select_subprotocol, max_size=(None, MAX_FRAME_BYTES)
        )

    @property
    def closed(self) -> bool:
        """Return whether the WebSocket is closed; the pending output ends with a close frame."""
        return self._protocol.close_expected()

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Add received bytes; return the payload and the bytes to write at once."""
        while data and self._protocol.state is State.CONNECTING:
            # Line by line, so that frames sent with the request are read after the response.
            line, newline, data = data.partition(b"\n")
            self._protocol.receive_data(line + newline)
            for event in self._protocol.events_received():
                if isinstance(event, Request):
                    self._protocol.send_response(self._protocol.accept(event))
            if self.closed:
                return b"", self._output()
        if data:
            self._protocol.receive_data(data)
        return self._payload(), self._output()

    def frame(self, data: bytes) -> bytes:
        """Return the bytes in a binary frame; no bytes after the WebSocket was closed."""
        if self.closed:
            return b""
        self._protocol.send_binary(data)
        return self._output()

    def _payload(self) -> bytes:
        payload: list[bytes] = []
        for frame in self._protocol.events_received():
            if not isinstance(frame, Frame):
                continue
            if frame.opcode is Opcode.TEXT:
                self._protocol.fail(CloseCode.UNSUPPORTED_DATA)
                break
            if frame.opcode in (Opcode.BINARY, Opcode.CONT):
                payload.append(bytes(frame.data))
        return b"".join(payload)

    def _output(self) -> bytes:
        return b"".join(self._protocol.data_to_send())


def _select_subprotocol(
    protocol: ServerProtocol, offered: Sequence[Subprotocol]
) -> Subprotocol | None:
    """Return the first supported subprotocol in the client's spelling, as .NET uses capitals."""
    del protocol
    found = next((name for name in offered if name.lower() in SUBPROTOCOLS), None)
    if found is None:
        raise NegotiationError(f"supported subprotocols are {' and '.join(SUBPROTOCOLS)}")
    return found
