"""The partition of an event: by the service's hash of the key, or in turn without a key.

The hash is Bob Jenkins' lookup3 over the key's UTF-8 bytes, folded to a signed 16-bit number. The
remainder keeps the sign, as in C# (published as PartitionResolver in the .NET SDK). The Python
SDK's own port differs for keys that are not ASCII and for negative hashes.
"""

from __future__ import annotations

import functools
import math
import struct

_MASK = 0xFFFFFFFF
_WORDS = struct.Struct("<III")


def partition_for_key(key: bytes, partitions: int) -> int:
    """Return the partition (0 to partitions - 1) of a UTF-8 key."""
    return abs(int(math.fmod(hash_key(key), partitions)))


@functools.lru_cache(maxsize=16384)
def hash_key(key: bytes) -> int:
    """Return the service's hash of a UTF-8 key, a signed 16-bit number."""
    c, b = _lookup3(key)
    folded = (c ^ b) & 0xFFFF
    return folded - 0x10000 if folded & 0x8000 else folded


class RoundRobin:
    """A rotation over the partitions."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._next = 0

    def next_partition(self) -> int:
        """Return the next partition in turn."""
        partition = self._next
        self._next = (partition + 1) % self._partitions
        return partition


def _rotate(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (32 - bits))) & _MASK


def _lookup3(data: bytes) -> tuple[int, int]:
    """Compute `hashlittle2` of lookup3.c with both seeds 0."""
    size = len(data)
    a = b = c = (0xDEADBEEF + size) & _MASK
    position = 0
    while size - position > 12:
        x, y, z = _WORDS.unpack_from(data, position)
        a, b, c = (a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK
        a = ((a - c) & _MASK) ^ _rotate(c, 4)
        c = (c + b) & _MASK
        b = ((b - a) & _MASK) ^ _rotate(a, 6)
        a = (a + c) & _MASK
        c = ((c - b) & _MASK) ^ _rotate(b, 8)
        b = (b + a) & _MASK
        a = ((a - c) & _MASK) ^ _rotate(c, 16)
        c = (c + b) & _MASK
        b = ((b - a) & _MASK) ^ _rotate(a, 19)
        a = (a + c) & _MASK
        c = ((c - b) & _MASK) ^ _rotate(b, 4)
        b = (b + a) & _MASK
        position += 12
    if position == size:
        return c, b
    x, y, z = _WORDS.unpack(data[position:].ljust(12, b"\0"))
    a, b, c = (a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK
    c = ((c ^ b) - _rotate(b, 14)) & _MASK
    a = ((a ^ c) - _rotate(c, 11)) & _MASK
    b = ((b ^ a) - _rotate(a, 25)) & _MASK
    c = ((c ^ b) - _rotate(b, 16)) & _MASK
    a = ((a ^ c) - _rotate(c, 4)) & _MASK
    b = ((b ^ a) - _rotate(a, 14)) & _MASK
    c = ((c ^ b) - _rotate(b, 24)) & _MASK
    return c, b
