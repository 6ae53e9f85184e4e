"""AMQP over WebSocket (RFC 6455), where only HTTP gets through. No sockets here.

A client that begins with GET is taken for one of these, on the same port; any path will do. In
binary messages come AMQP's bytes, cut anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import struct

MIN_REQUEST = 4
SUBPROTOCOLS = ("amqp", "amqpwsb10")  # the standard's, and what Microsoft's clients ask for

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # the standard's
_MAX_REQUEST = 8192
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_PROTOCOL_ERROR, _UNSUPPORTED = 1002, 1003
_MAX_CONTROL = 125


def is_http(beginning: bytes) -> bool:
    """Whether a connection that begins like this may be one of HTTP."""
    return beginning[:MIN_REQUEST] == b"GET "[: len(beginning)]


class WebSocketServer:
    """The server's side of one WebSocket, handshake included.

    Attributes:
        closed: whether it is over; what is still to be written ends with our close frame.
    """

    def __init__(self) -> None:
        self.closed = False
        self._open = False
        self._buffer = b""
        self._opcode = 0
        self._remaining = 0
        self._mask = b""
        self._control = b""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take in bytes; return the payload that they carry and what is to be written at once."""
        self._buffer += data
        payload: list[bytes] = []
        answer: list[bytes] = []
        if not self._open:
            answer.append(self._shake_hands())
        while self._open and not self.closed:
            if not self._remaining and not self._begin_frame(answer):
                break
            if not (taken := self._take()) and self._remaining:
                break
            if self._opcode < _CLOSE:
                payload.append(taken)
            else:
                self._control += taken
            if not self._remaining and self._opcode >= _CLOSE:
                self._on_control(answer)
        return b"".join(payload), b"".join(answer)

    def frame(self, data: bytes, opcode: int = _BINARY) -> bytes:
        """Wrap bytes in a frame of their own."""
        size = len(data)
        if size <= _MAX_CONTROL:
            head = bytes((0x80 | opcode, size))
        elif size <= 0xFFFF:
            head = struct.pack(">BBH", 0x80 | opcode, 126, size)
        else:
            head = struct.pack(">BBQ", 0x80 | opcode, 127, size)
        return head + data

    def _shake_hands(self) -> bytes:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return self._refuse("the request is too long") if len(head) > _MAX_REQUEST else b""
        lines = head.decode("latin-1").split("\r\n")[1:]
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        offered = [name.strip() for name in headers.get("sec-websocket-protocol", "").split(",")]
        key = headers.get("sec-websocket-key")
        if headers.get("upgrade", "").lower() != "websocket" or not key:
            return self._refuse("this is no request for a WebSocket")
        spoken = next((name for name in offered if name.lower() in SUBPROTOCOLS), None)
        if spoken is None:
            return self._refuse("the subprotocol amqp is spoken here")
        self._open, self._buffer = True, rest
        # What the standard asks for; it protects nothing.
        accept = hashlib.sha1(key.encode("latin-1") + _GUID, usedforsecurity=False).digest()
        return (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Protocol: {spoken}\r\n"
            f"Sec-WebSocket-Accept: {base64.b64encode(accept).decode()}\r\n\r\n"
        ).encode("latin-1")

    def _refuse(self, reason: str) -> bytes:
        self.closed = True
        body = reason.encode()
        return (
            b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body)
        ) + body

    def _begin_frame(self, answer: list[bytes]) -> bool:
        """Read a frame's head; False if it is not all there, or the peer has broken the rules."""
        buffer = self._buffer
        if len(buffer) < 2:
            return False
        opcode, size, start = buffer[0] & 0x0F, buffer[1] & 0x7F, 2
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(buffer) < start:
                return False
            size = int.from_bytes(buffer[2:start])
        if not buffer[1] & 0x80 or buffer[0] & 0x70 or (opcode >= _CLOSE and size > _MAX_CONTROL):
            return self._fail(_PROTOCOL_ERROR, answer)
        if opcode not in (_CONTINUATION, _BINARY, _CLOSE, _PING, _PONG):
            return self._fail(_UNSUPPORTED if opcode == _TEXT else _PROTOCOL_ERROR, answer)
        if len(buffer) < start + 4:
            return False
        self._opcode, self._remaining, self._control = opcode, size, b""
        self._mask, self._buffer = buffer[start : start + 4], buffer[start + 4 :]
        return True

    def _take(self) -> bytes:
        """Take as much of the frame at hand as has come, unmasked."""
        taken, self._buffer = self._buffer[: self._remaining], self._buffer[self._remaining :]
        size = len(taken)
        self._remaining -= size
        mask = (self._mask * (size // 4 + 1))[:size]
        self._mask = self._mask[size % 4 :] + self._mask[: size % 4]
        return (int.from_bytes(taken) ^ int.from_bytes(mask)).to_bytes(size)

    def _on_control(self, answer: list[bytes]) -> None:
        if self._opcode == _PING:
            answer.append(self.frame(self._control, _PONG))
        elif self._opcode == _CLOSE:
            self.closed = True
            answer.append(self.frame(self._control[:2], _CLOSE))

    def _fail(self, code: int, answer: list[bytes]) -> bool:
        self.closed = True
        answer.append(self.frame(code.to_bytes(2), _CLOSE))
        return False
