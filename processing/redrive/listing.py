"""The listing of parked and deferred keys: why each key waits, and when it continues."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from processing.handlers.raised import describe, type_name
from processing.identity import Source
from processing.parking.event import Lone, event_key
from processing.parking.store import Entry, EntryKind, ParkedKey, ParkingStore
from processing.poison.message import PoisonMessage
from processing.redrive.selection import id_at

POISON = "poison"
INTERRUPTED = "redrive not finished"
"""The reasons why a key is parked; a deferred key has a `DeferralReason`."""


class ListState(StrEnum):
    """The state of a list: the app continues a deferred key, an operator a parked key."""

    DEFERRED = "deferred"
    PARKED = "parked"


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key with a parked list, as operators see it; all times are by the store's clock.

    Attributes:
        source: the partition.
        key: the key, or None.
        is_lone: whether the list holds one event without a key.
        state: parked or deferred.
        since: time at which the list was created, seconds since 1970.
        entries: number of events in the list.
        event: id of the first event, or "" if the list is empty by now.
        reason: why the first event waits.
        dependency: the dependency that failed, or "".
        attempts: failed attempts at the first event.
        redrives: redrives in which the first event failed.
        due: time of the next replay, seconds since 1970; None: the key waits for an operator.
        error: type and message of the last error, or "".
    """

    source: Source
    key: str | None
    is_lone: bool
    state: ListState
    since: float
    entries: int
    event: str = ""
    reason: str = INTERRUPTED
    dependency: str = ""
    attempts: int = 0
    redrives: int = 0
    due: float | None = None
    error: str = ""

    @property
    def behind(self) -> int:
        """The number of events behind the first one."""
        return max(0, self.entries - 1)


async def listed(store: ParkingStore, keys: Iterable[ParkedKey]) -> AsyncIterator[ListedKey]:
    """Yield the keys, each with its first event.

    The lists are read one after the other, so that the first timeout of a silent store ends the
    listing.

    Raises:
        StorageUnavailableError: the store did not answer.
    """
    for parked in keys:
        head = next(iter(await store.entries(parked.source, parked.key, most=1)), None)
        yield _listed(parked, head)


def _listed(parked: ParkedKey, head: Entry | None) -> ListedKey:
    deferral = parked.deferral
    found = ListedKey(
        parked.source,
        event_key(parked.key),
        isinstance(parked.key, Lone),
        ListState.PARKED if deferral is None else ListState.DEFERRED,
        parked.since,
        parked.entries,
        event="" if head is None else id_at(parked.source, head.position),
    )
    if deferral is not None:
        return replace(
            found,
            reason=deferral.reason,
            dependency=deferral.dependency,
            attempts=deferral.attempts,
            due=parked.due,
            error=deferral.error,
        )
    if head is None or head.kind is EntryKind.EVENT:
        return found
    try:
        message = PoisonMessage.from_json(head.document)
    except ValueError as error:
        # The other keys are listed, too.
        return replace(found, reason=POISON, error=f"{type_name(error)}: {describe(error)}")
    return replace(
        found,
        reason=POISON,
        attempts=message.attempts,
        redrives=message.redrives,
        error=f"{message.error.type.rpartition('.')[2]}: {message.error.message}",
    )
