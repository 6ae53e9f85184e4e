"""The SASL layer in front of AMQP, which accepts every well-formed handshake.

Proton offers only ANONYMOUS, but the .NET SDK requires MSSBCBS. Neither mechanism carries
credentials. Clients are authorized by the tokens that they later send to the `$cbs` node.
"""

from __future__ import annotations

from local.event_hubs.errors import FRAMING_ERROR, AmqpError
from local.event_hubs.protocol.encoding import U32, read_compound, read_descriptor, skip_value

SASL_HEADER = b"AMQP\x03\x01\x00\x00"
AMQP_HEADER = b"AMQP\x00\x01\x00\x00"
MECHANISMS = (b"ANONYMOUS", b"MSSBCBS")

_MAX_FRAME = 4096
_INIT = 0x41


class SaslServer:
    """One SASL handshake: call `feed` until `finished`; `leftover` then holds the AMQP bytes."""

    def __init__(self) -> None:
        self.finished = False
        self.leftover = b""
        self._buffer = b""
        self._header_done = False

    def feed(self, data: bytes) -> bytes:
        """Add received bytes and return the response to write.

        A peer may skip SASL and send an AMQP header.

        Raises:
            AmqpError: `amqp:connection:framing-error`, the handshake is malformed or names another
                mechanism.
        """
        self._buffer += data
        answer = b""
        if not self._header_done:
            if len(self._buffer) < 8:
                if not self._buffer.startswith(AMQP_HEADER[: len(self._buffer)][:4]):
                    raise AmqpError(FRAMING_ERROR, "no AMQP protocol header")
                return b""
            header, self._buffer = self._buffer[:8], self._buffer[8:]
            if header == AMQP_HEADER:
                self.finished, self.leftover = True, header + self._buffer
                return b""
            if header != SASL_HEADER:
                raise AmqpError(FRAMING_ERROR, f"unsupported protocol header {header!r}")
            self._header_done = True
            answer = SASL_HEADER + _mechanisms()
        if len(self._buffer) >= 8:
            size = U32.unpack_from(self._buffer)[0]
            if not 8 < size <= _MAX_FRAME or self._buffer[5] != 1:
                raise AmqpError(FRAMING_ERROR, "no SASL frame")
            if len(self._buffer) >= size:
                self._init(self._buffer[:size])
                self.finished, self.leftover = True, self._buffer[size:]
                answer += _outcome(0)
        return answer

    def _init(self, frame: bytes) -> None:
        try:
            code, start = read_descriptor(frame, frame[4] * 4)
            count, position, _ = read_compound(frame, start)
            end = skip_value(frame, position) if count else position
        except AmqpError as error:
            raise AmqpError(FRAMING_ERROR, error.description) from error
        mechanism = frame[position + 2 : end]
        if code != _INIT or mechanism not in MECHANISMS:
            raise AmqpError(FRAMING_ERROR, f"unsupported SASL mechanism {mechanism!r}")


def _mechanisms() -> bytes:
    names = b"".join(bytes((len(name),)) + name for name in MECHANISMS)
    array = bytes((0xE0, len(names) + 2, len(MECHANISMS), 0xA3)) + names
    return _frame(b"\x00\x53\x40" + bytes((0xC0, len(array) + 1, 1)) + array)


def _outcome(code: int) -> bytes:
    return _frame(b"\x00\x53\x44" + bytes((0xC0, 4, 2, 0x50, code, 0x40)))


def _frame(body: bytes) -> bytes:
    return U32.pack(len(body) + 8) + b"\x02\x01\x00\x00" + body
