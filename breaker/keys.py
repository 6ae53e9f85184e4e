"""Keys of events, by which the circuit distinguishes failures of one key from those of many."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

SEVERAL = "*"
"""Last character of a token that counts as two keys."""


class Key(NamedTuple):
    """A key that events share.

    Attributes:
        name: the key's text; events of the same name share their failures.
        several: whether the name stands for events of many keys, for example for the events of a
            partition that have no key. Such a key counts as two keys.
    """

    name: str
    several: bool = False

    @property
    def token(self) -> str:
        """The short text by which a store knows the key; does not reveal the name."""
        digest = hashlib.blake2b(self.name.encode("utf-8", "replace"), digest_size=8).hexdigest()
        return digest + SEVERAL if self.several else digest


def count_of(tokens: tuple[str, ...]) -> int:
    """Return the number of keys that the tokens stand for."""
    return sum(2 if token.endswith(SEVERAL) else 1 for token in tokens)
