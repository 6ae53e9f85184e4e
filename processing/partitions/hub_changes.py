"""Changes of the hub: the hub was recreated, or its number of partitions changed.

The survey of the partitions compares the hub with the hub that the store knows, and each change is
stored once. With another number of partitions a key's next events come to another partition than
its earlier events, so operators must know of the change.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

MOST_CHANGES = 20
"""Greatest number of changes that are kept; the oldest change is removed first."""
MOVED_DAYS = 7
"""Days for which a change of the number of partitions is a warning."""


class ChangeKind(StrEnum):
    """The kind of a change."""

    RECREATED = "recreated"  # the hub was deleted and created again under the same name
    PARTITIONS = "partitions"  # the number of partitions changed


@dataclass(frozen=True, slots=True)
class HubChange:
    """A change of the hub.

    Attributes:
        kind: see `ChangeKind`.
        seen_ms: time at which the change was noticed, milliseconds since 1970 by the store's clock.
        created_ms: time at which the present hub was created, milliseconds since 1970.
        before: the earlier number of partitions; 0 for a recreated hub.
        after: the new number of partitions; 0 for a recreated hub.
    """

    kind: ChangeKind
    seen_ms: int
    created_ms: int
    before: int = 0
    after: int = 0

    @property
    def text(self) -> str:
        """The change in one sentence."""
        if self.kind is ChangeKind.RECREATED:
            return f"The hub was recreated at {utc(self.created_ms)}"
        return f"The number of partitions changed from {self.before} to {self.after}"


def latest_growth(changes: Iterable[HubChange], now_ms: int) -> HubChange | None:
    """Return the latest change of the number of partitions if operators must still know of it.

    Args:
        changes: the hub's changes, the latest change first.
        now_ms: the present time, milliseconds since 1970.
    """
    oldest = now_ms - MOVED_DAYS * 24 * 3600 * 1000
    for each in changes:
        if each.kind is ChangeKind.PARTITIONS and each.seen_ms > oldest:
            return each
    return None


def utc(milliseconds: int) -> str:
    """Return a time in milliseconds since 1970 as text."""
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M} UTC"


class HubChanges(Protocol):
    """A store of the hub's changes."""

    async def observe(
        self, created_ms: int, partitions: int, *, recreated: bool = False
    ) -> list[HubChange]:
        """Store what is new about the hub, and return all changes, the latest change first.

        An answer of a hub that was deleted since is ignored.

        Args:
            created_ms: time at which the hub was created, milliseconds since 1970.
            partitions: the hub's number of partitions.
            recreated: the progress of a partition shows that the hub was recreated.

        Raises:
            StorageUnavailableError: the store does not answer.
        """
        ...

    async def known(self) -> list[HubChange]:
        """Return all changes that are stored, the latest change first.

        Raises:
            StorageUnavailableError: the store does not answer.
        """
        ...


class MemoryHubChanges:
    """A store of the hub's changes in this process; see `HubChanges`.

    Args:
        now_ms: returns the time in milliseconds since 1970.
    """

    def __init__(self, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._now_ms = now_ms
        self._known: tuple[int, int] | None = None
        self._changes: list[HubChange] = []

    async def observe(
        self, created_ms: int, partitions: int, *, recreated: bool = False
    ) -> list[HubChange]:
        """See `HubChanges.observe`."""
        await asyncio.sleep(0)
        created, before = self._known or (created_ms, partitions)
        if created_ms < created and not recreated:
            return list(self._changes)
        self._known = (created_ms, partitions)
        now = self._now_ms()
        if recreated or created_ms != created:
            self._add(HubChange(ChangeKind.RECREATED, now, created_ms))
        if partitions != before:
            self._add(HubChange(ChangeKind.PARTITIONS, now, created_ms, before, partitions))
        return list(self._changes)

    async def known(self) -> list[HubChange]:
        """See `HubChanges.known`."""
        await asyncio.sleep(0)
        return list(self._changes)

    def _add(self, change: HubChange) -> None:
        def identity(each: HubChange) -> tuple[object, ...]:
            return each.kind, each.created_ms, each.before, each.after

        if identity(change) not in map(identity, self._changes):
            self._changes = [change, *self._changes][:MOST_CHANGES]
