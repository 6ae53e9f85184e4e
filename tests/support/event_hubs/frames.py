"""Valid and invalid AMQP frames made by hand."""

from __future__ import annotations

import struct

from hypothesis import strategies as st

from local.event_hubs.protocol.sasl import AMQP_HEADER
from tests.support.event_hubs.client_helpers import HUB

NULL, TRUE, FALSE = b"\x40", b"\x41", b"\x42"
OPEN, BEGIN, ATTACH, FLOW, TRANSFER, DISPOSITION, DETACH, END, CLOSE = range(0x10, 0x19)


def text(value: str | bytes, constructor: int = 0xA1) -> bytes:
    """Encode a short string; constructor 0xA3 encodes a symbol, 0xA0 a binary value."""
    data = value.encode() if isinstance(value, str) else value
    return bytes((constructor, len(data))) + data


def uint(value: int) -> bytes:
    """Encode an unsigned 32-bit integer."""
    return b"\x70" + struct.pack(">I", value)


def listed(*items: bytes) -> bytes:
    """Encode a list in the long form."""
    content = b"".join(items)
    return b"\xd0" + struct.pack(">II", len(content) + 4, len(items)) + content


def described(code: int, *fields: bytes) -> bytes:
    """Encode a performative or another described list."""
    return b"\x00\x53" + bytes((code,)) + listed(*fields)


def frame(body: bytes, channel: int = 0) -> bytes:
    """Return a frame with a performative and its payload."""
    return struct.pack(">IBBH", len(body) + 8, 2, 0, channel) + body


def attach(handle: int, address: str, *, receives: bool = False, name: str = "") -> bytes:
    """Return the attach of a link that sends to an address, or receives from the address."""
    source, target = (address, "me") if receives else ("me", address)
    return described(
        ATTACH,
        text(name or f"link{handle}"),
        uint(handle),
        TRUE if receives else FALSE,
        NULL,
        NULL,
        described(0x28, text(source)),
        described(0x29, text(target)),
        NULL,
        NULL,
        b"\x43",
    )


def transfer(handle: int, number: int, payload: bytes, *, more: bool = False) -> bytes:
    """Return a transfer, which is the last of its delivery unless `more` is set."""
    tag = text(struct.pack(">I", number), 0xA0)
    fields = (uint(handle), uint(number), tag, b"\x43", FALSE, TRUE if more else FALSE)
    return described(TRANSFER, *fields) + payload


BEGINNING = (
    AMQP_HEADER
    + frame(described(OPEN, text("c"), text("h"), uint(65536), b"\x60\x00\xff"))
    + frame(described(BEGIN, NULL, b"\x43", uint(5000), uint(5000)))
)
"""The header, open and begin, after which frames can open links on channel 0."""

ENDING = frame(described(CLOSE))

PUBLISH = frame(attach(0, f"{HUB}/Partitions/0"))
RECEIVE = frame(attach(1, f"{HUB}/ConsumerGroups/$Default/Partitions/0", receives=True))
BODY = b"\x00\x53\x75\xa0\x01x"

_scalars = st.one_of(
    st.sampled_from([NULL, TRUE, FALSE, b"\x43", b"\x44", b"\x45", b"\x56\x01", b"\x52\xff"]),
    st.integers(0, 2**32 - 1).map(uint),
    st.integers(0, 2**64 - 1).map(lambda value: b"\x80" + struct.pack(">Q", value)),
    st.integers(-(2**63), 2**63 - 1).map(lambda value: b"\x81" + struct.pack(">q", value)),
    st.floats(width=64).map(lambda value: b"\x82" + struct.pack(">d", value)),
    st.builds(text, st.binary(max_size=40), st.sampled_from([0xA0, 0xA1, 0xA3])),
    st.sampled_from([HUB, f"{HUB}/Partitions/1", "$cbs", "$management", "@latest"]).map(text),
)


def _compounds(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    items = st.lists(inner, max_size=6)
    return st.one_of(
        items.map(lambda found: listed(*found)),
        items.map(
            lambda found: (
                b"\xd1" + struct.pack(">II", sum(map(len, found)) + 4, len(found)) + b"".join(found)
            )
        ),
        st.builds(
            lambda count, data: b"\xf0" + struct.pack(">II", len(data) + 4, count) + data,
            st.integers(0, 2**32 - 1),
            st.binary(max_size=20),
        ),
        st.builds(described, st.sampled_from([0x23, 0x24, 0x28, 0x29, 0x1D, 0x70]), inner),
        st.builds(lambda a, b: b"\x00" + a + b, inner, inner),
    )


VALUES = st.recursive(_scalars, _compounds, max_leaves=8)
"""Encoded values of all types, some of them invalid."""

PERFORMATIVES = st.builds(
    lambda code, fields, payload: described(code, *fields) + payload,
    st.sampled_from([*range(OPEN, CLOSE + 1)] * 3 + [0x00, 0x19, 0x40, 0x53, 0x75, 0xFF]),
    st.lists(VALUES, max_size=15),
    st.binary(max_size=30) | st.just(BODY),
)
"""Performatives with arbitrary fields and a payload."""

FRAMES = st.one_of(
    st.builds(frame, PERFORMATIVES, st.sampled_from([0, 0, 0, 1, 4999, 65535])),
    st.builds(frame, st.binary(max_size=40)),
    st.builds(
        lambda handle, number, payload, more: frame(transfer(handle, number, payload, more=more)),
        st.integers(0, 3),
        st.integers(0, 3),
        st.binary(max_size=40) | st.just(BODY),
        st.booleans(),
    ),
    st.sampled_from([PUBLISH, RECEIVE, frame(attach(2, "$cbs")), frame(attach(3, "$management"))]),
)
"""Frames with a valid size and arbitrary content."""
