"""The names of the keys of parked lists in Redis, and the labels of lists."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache

from processing.formats.keys import partition_prefix
from processing.identity import Source
from processing.parking import names
from processing.parking.event import ListKey
from processing.progress.redis import progress_keys

_ENCODER = json.JSONEncoder(default=lambda lone: [lone.position], separators=(",", ":"))


def key_of(label: bytes | str) -> ListKey:
    """Return the name of the list with a label."""
    return names.key_of(text_of(label))


def keys_as_json(keys: Sequence[ListKey]) -> str:
    """Return the names of lists as one argument for `claim.lua`, in ASCII."""
    return _ENCODER.encode(keys)


def text_of(value: bytes | str) -> str:
    """Return a value of Redis as text."""
    return value.decode() if isinstance(value, bytes) else value


def parking_keys(source: Source, *ends: str) -> list[str]:
    """Return keys of a partition's parked lists."""
    prefix = f"{partition_prefix(source)}parking:"
    return [prefix + end for end in ends]


def list_keys(source: Source, label: str) -> list[str]:
    """Return the keys of one list and of its partition, as `scripts/layout.lua` lists them."""
    return [
        progress_keys(source)[0],
        *parking_keys(source, "state", "keys", "replayed", "replayed_at"),
        *parking_keys(source, "deferred", "due", "deferred_since"),
        *parking_keys(source, f"lease:{label}", f"entries:{label}", f"documents:{label}"),
    ]


@lru_cache(maxsize=256)  # a claim is on the path of every batch
def claim_keys(source: Source) -> tuple[bytes, ...]:
    """Return the keys of `scripts/claim.lua`."""
    ends = ("keys", "replayed", "replayed_at", "due", "deferred_since", "state", "owner")
    found = (*progress_keys(source), *parking_keys(source, *ends, "deferred"))
    return tuple(name.encode() for name in found)
