"""The warning that the hub got another number of partitions, with the keys that wait since then."""

from __future__ import annotations

from collections.abc import Iterable

from processing.errors import StorageUnavailableError
from processing.formats.event_fields import key_hash
from processing.parking.store import ParkingStore
from processing.partitions.hub_changes import HubChange, latest_growth
from processing.partitions.moved_keys import MovedKeys, find_moved

MANY_KEYS = 500
"""Number of lists above which the keys are read at most once in `KEYS_MS`."""
KEYS_MS = 60_000


class MovedWarning:
    """A source of the warning, which reads the waiting keys, many of them once in `KEYS_MS`.

    Args:
        parking: stores the lists.
    """

    def __init__(self, parking: ParkingStore) -> None:
        self._parking = parking
        self._found: MovedKeys | None = None
        self._until_ms = 0

    async def text(self, changes: Iterable[HubChange], now_ms: int) -> str | None:
        """Return the warning, or None if the number of partitions has not changed lately.

        Args:
            changes: the changes of the hub, the latest change first.
            now_ms: the present time, milliseconds since 1970.
        """
        change = latest_growth(changes, now_ms)
        if change is None:
            return None
        if self._found is None or now_ms >= self._until_ms:
            try:
                self._found = await find_moved(self._parking, change)
            except StorageUnavailableError as error:
                return MovedKeys(change, unknown=str(error)).text(key_hash)
            self._until_ms = now_ms + (KEYS_MS if self._found.lists > MANY_KEYS else 0)
        return self._found.text(key_hash)
