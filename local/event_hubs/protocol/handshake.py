"""The layers between the socket and AMQP frames: optional WebSocket, SASL, protocol header."""

from __future__ import annotations

from local.event_hubs.errors import FRAMING_ERROR, AmqpError
from local.event_hubs.protocol.sasl import AMQP_HEADER, SaslServer
from local.event_hubs.protocol.websocket import MIN_REQUEST, WebSocketServer, is_http


class Handshake:
    """The handshakes of one connection in sequence."""

    def __init__(self) -> None:
        self._beginning: bytes | None = b""
        self._websocket: WebSocketServer | None = None
        self._sasl: SaslServer | None = SaslServer()
        self._header = b""

    @property
    def amqp(self) -> bool:
        """Return whether the AMQP protocol header has arrived, after which frames follow."""
        return self._header == AMQP_HEADER

    @property
    def closed(self) -> bool:
        """Return whether the WebSocket was closed or refused."""
        return self._websocket is not None and self._websocket.closed

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Add received bytes; return the bytes of AMQP frames and the response to write at once.

        Raises:
            AmqpError: `amqp:connection:framing-error`, the handshake is not supported.
        """
        answer = b""
        if self._beginning is not None:
            data = self._beginning + data
            if len(data) < MIN_REQUEST and is_http(data):
                self._beginning = data
                return b"", b""
            self._beginning = None
            self._websocket = WebSocketServer() if is_http(data) else None
        if self._websocket is not None:
            data, answer = self._websocket.feed(data)
        if self._sasl is not None and data:
            answer += self.wrap(self._sasl.feed(data))
            if not self._sasl.finished:
                return b"", answer
            data, self._sasl = self._sasl.leftover, None
        if self._sasl is None and not self.amqp:
            self._header += data
            if len(self._header) < len(AMQP_HEADER):
                return b"", answer
            data, self._header = self._header[8:], self._header[:8]
            if not self.amqp:
                raise AmqpError(FRAMING_ERROR, "only AMQP 1.0 is supported")
        return data, answer

    def wrap(self, data: bytes) -> bytes:
        """Return the bytes, in a WebSocket frame if the connection is a WebSocket."""
        return self._websocket.frame(data) if data and self._websocket is not None else data
