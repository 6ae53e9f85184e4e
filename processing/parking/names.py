"""The names of parked lists, in the order in which listings show them."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote, unquote

from processing.parking.event import ListKey, Lone

_WITHOUT_KEY = ""
_OF_KEY = "="
_LONE = "#"


class ListName(NamedTuple):
    """The name of a list; the list that waits longest has the lowest name.

    Attributes:
        since_us: time at which the list was created, microseconds since 1970.
        partition: id of the partition.
        label: the key, as `label_of` writes it.
    """

    since_us: int
    partition: str
    label: str

    @property
    def key(self) -> ListKey:
        """The name of the list within its partition."""
        return key_of(self.label)

    @property
    def cursor(self) -> str:
        """The name as one printable text, which `from_cursor` reads."""
        return f"{self.since_us}/{self.partition}/{quote(self.label, safe=_OF_KEY)}"


def from_cursor(text: str) -> ListName:
    """Return the name that `ListName.cursor` has written.

    Raises:
        ValueError: the text is no cursor.
    """
    since, _, rest = text.partition("/")
    partition, slash, label = rest.partition("/")
    if not (since.isascii() and since.isdigit() and slash):
        raise ValueError(
            f"{text[:100]!r} is no place in the list of parked keys; use the text that an earlier "
            "page has named"
        )
    return ListName(int(since), partition, unquote(label))


def label_of(key: ListKey) -> str:
    """Return the label that names a list within its partition."""
    match key:
        case None:
            return _WITHOUT_KEY
        case Lone(position):
            return _LONE + position
        case _:
            return _OF_KEY + key


def key_of(label: str) -> ListKey:
    """Return the name of the list with a label."""
    if label.startswith(_OF_KEY):
        return label[1:]
    return Lone(label[1:]) if label.startswith(_LONE) else None
