"""The records of discarded events: their names, and the events that they are about."""

from __future__ import annotations

import re
from typing import Protocol

from processing.identity import Source

FOLDER = "discarded"
WITHOUT_BODY = "-without-body"
_PLACE = re.compile(rf"(\d+)/(\d+)(?:{WITHOUT_BODY})?\.json")


class RecordNames(Protocol):
    """A store of records that can list their names."""

    async def names(self, prefix: str) -> list[str]:
        """Return the names that begin with a prefix.

        Raises:
            StorageUnavailableError: the store did not answer.
        """
        ...


def record_name(
    source: Source, sequence_number: int, enqueued_ms: int, *, has_body: bool = True
) -> str:
    """Return the name of the record of one discarded event.

    A record without the event's body has a name of its own: the record of an earlier discard of the
    same event may contain the body.
    """
    ending = "" if has_body else WITHOUT_BODY
    return f"{_folder(source)}{sequence_number}/{enqueued_ms}{ending}.json"


class DiscardRecords:
    """A reader of the records of discarded events."""

    def __init__(self, store: RecordNames) -> None:
        self._store = store

    async def places(self, source: Source) -> list[tuple[int, int]]:
        """Return sequence number and enqueued time (ms since 1970) of a partition's events.

        Raises:
            StorageUnavailableError: the records cannot be listed.
        """
        folder = _folder(source)
        names = await self._store.names(folder)
        found = (_PLACE.fullmatch(name.removeprefix(folder)) for name in names)
        return sorted({(int(match[1]), int(match[2])) for match in found if match})


def _folder(source: Source) -> str:
    return f"{FOLDER}/{source}/"
