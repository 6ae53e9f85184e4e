"""Parking in a batch: parks a key with its poisoned event, and parks the key's later events."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from processing.errors import ParkingFullError
from processing.event import Event
from processing.handlers.failures.kind import Failure, FailureKind
from processing.identity import Source
from processing.parking.deferral import Deferral
from processing.parking.event import ListKey, ParkedEvent, Position, Replayed, position_of
from processing.parking.store import (
    Claim,
    DeferReply,
    ParkingStore,
    ParkReply,
    ParkState,
    WritingAs,
)
from processing.parking.waking import Seen
from processing.poison.claim_checks import ClaimChecks
from processing.poison.message import INLINE_BYTES, PoisonMessage
from processing.poison.queue import PoisonQueue

MOST_EVENTS = 200
MOST_CHARACTERS = 1024 * 1024
"""The limits of one script call; a longer call would delay other clients of Redis."""


logger = logging.getLogger(__name__)


class Persist(Protocol):
    """A function that retries a write until it succeeds, for at most the invocation's hold."""

    async def __call__[*Ts, T](  # noqa: D102
        self, write: Callable[[*Ts], Awaitable[T]], *args: *Ts
    ) -> T: ...


class Marks(Protocol):
    """The marks outside Redis, which show that Redis has lost parked events."""

    async def check(self, source: Source, claim: Claim) -> None:
        """Raise `ParkedEventsLostError` if Redis has lost the partition's parked events."""
        ...

    async def writing_as(self, source: Source, claim: Claim, oldest: Event) -> WritingAs:
        """Return the right to park events from `oldest` on, after the mark is written."""
        ...


class Parking:
    """The parked lists, the claim checks of their large events, and their marks outside Redis.

    Args:
        store: stores parked events.
        claims: stores events that are too large for the parked lists.
        marks: the marks; None: an emptied Redis is not noticed.
    """

    def __init__(
        self, store: ParkingStore, claims: ClaimChecks, marks: Marks | None = None
    ) -> None:
        self.store = store
        self.claims = claims
        self.marks = marks

    async def claim(
        self,
        source: Source,
        keys: Collection[ListKey] = (),
        *,
        generation: int = 0,
        opening: str = "",
    ) -> Claim:
        """Claim a partition; see `ParkingStore.claim`.

        Raises:
            ParkedEventsLostError: Redis has lost the partition's parked events.
            StorageUnavailableError: a store did not answer.
        """
        claim = await self.store.claim(source, keys, generation=generation, opening=opening)
        if self.marks is not None:
            await self.marks.check(source, claim)
        return claim


class BatchParking:
    """The parking of one batch, whose invocation owns the partition.

    Only the key's own lane can park or defer a key, so a key without a list has none until then.
    A replay or a redrive can release a key at any time, so the store decides again for every event.

    Args:
        parking: the parked lists.
        source: the batch's partition.
        claim: the claim on the partition, from the start of the batch.
        oldest: the first unfinished event of the batch.
        persist: retries writes that must not be lost.
        poison: the poison queue.
    """

    def __init__(
        self,
        parking: Parking,
        source: Source,
        claim: Claim,
        oldest: Event,
        *,
        persist: Persist,
        poison: PoisonQueue,
    ) -> None:
        self._store = parking.store
        self._claims = parking.claims
        self._marks = parking.marks
        self._source = source
        self._oldest = oldest
        self._persist = persist
        self._queue = poison
        self._parked = set(claim.parked)
        self.claim = claim

    def concerns(self, key: ListKey) -> bool:
        """Return whether the key has a list, or replays may have handled some of its events."""
        return key in self._parked or key in self.claim.replayed

    def is_parked(self, key: ListKey) -> bool:
        """Return whether the key has a list; a replay may have released the key since."""
        return key in self._parked

    def replayed(self, key: ListKey) -> Replayed:
        """Return the replayed positions of the key, or ""."""
        return self.claim.replayed.get(key, "")

    async def poison(self, message: PoisonMessage) -> None:
        """Park a poisoned event's key, and put the event's message into the poison queue.

        The parked list is written first and contains the message. If the instance dies before the
        second write, the event's next delivery sends the message from the list, and the handler is
        not called again.

        Raises:
            OwnershipLostError: another instance owns the partition now.
            StorageUnavailableError: a write failed.
        """
        small = await self._persist(self._claims.shrink, replace(message, parked=True))
        position = position_of(message)
        writing = await self._writing_as()
        document = await self._persist(
            self._store.poison, writing, self._source, message.key, position, small.to_json()
        )
        if document is not None:
            self._parked.add(message.key)
            await self._announce(message.key, position, document, lambda _error: small)

    async def defer(
        self,
        key: ListKey,
        event: Event,
        deferral: Deferral,
        pause_seconds: float,
        seen: Seen | None = None,
    ) -> DeferReply:
        """Defer a key with its failing event; see `ParkingStore.defer`.

        Raises:
            OwnershipLostError: another instance owns the partition now.
            ParkingFullError: the partition's lists are full; the event must wait in place.
            StorageUnavailableError: a write failed.
        """
        document = await self._document(event)
        writing = await self._writing_as()

        async def write() -> DeferReply | ParkingFullError:
            try:
                return await self._store.defer(
                    writing,
                    self._source,
                    key,
                    (position_of(event), document),
                    deferral=deferral,
                    pause_seconds=pause_seconds,
                    seen=seen,
                )
            except ParkingFullError as error:  # repeating the write does not make room
                return error

        reply = await self._persist(write)
        if isinstance(reply, ParkingFullError):
            raise reply
        if reply.state is not ParkState.REPLAYED:
            self._parked.add(key)
        return reply

    async def park(self, key: ListKey, events: Sequence[Event]) -> ParkReply:
        """Append the first events of a parked key's lane to the key's list.

        Returns:
            One state for each event that was taken; the caller passes the others again.

        Raises:
            OwnershipLostError: another instance owns the partition now.
            StorageUnavailableError: the write failed, or the lists are full.
        """
        chunk = await self._chunk(events)
        writing = await self._writing_as()
        reply = await self._persist(self._store.park, writing, self._source, key, chunk)
        if reply.released:
            self._parked.discard(key)
        place = self._source, key
        for event, state in zip(events, reply.states, strict=False):
            if state is ParkState.UNANNOUNCED:
                position = position_of(event)
                entry = await self._persist(self._store.document, *place, position)
                if entry is not None:
                    unread = partial(_unread, event)
                    await self._announce(key, position, entry.document, unread)
        return reply

    async def mark_overdue(self, events: Sequence[Event]) -> None:
        """Mark events that outlast the invocation, so that the next run defers them.

        Raises:
            StorageUnavailableError: the write failed.
        """
        positions = [position_of(event) for event in events]
        await self._persist(self._store.mark_overdue, self._source, positions)

    async def _writing_as(self) -> WritingAs:
        if self._marks is None:
            return WritingAs(self.claim.owner, "")
        return await self._persist(self._marks.writing_as, self._source, self.claim, self._oldest)

    async def _chunk(self, events: Sequence[Event]) -> list[tuple[Position, str]]:
        chunk: list[tuple[Position, str]] = []
        characters = 0
        for event in events[:MOST_EVENTS]:
            document = await self._document(event)
            characters += len(document)
            if chunk and characters > MOST_CHARACTERS:
                break
            chunk.append((position_of(event), document))
        return chunk

    async def _document(self, event: Event) -> str:
        parked = ParkedEvent(event)
        text = parked.to_json()
        if len(text) <= INLINE_BYTES:
            return text
        check = await self._persist(self._claims.put, parked)
        return parked.with_claim_check(check).to_json()

    async def _announce(
        self,
        key: ListKey,
        position: Position,
        document: str,
        otherwise: Callable[[ValueError], PoisonMessage],
    ) -> None:
        """Put an entry's message into the poison queue; `otherwise` if it cannot be read.

        An entry that nobody can read stays in its list, and does not stop its partition.
        """
        try:
            message = PoisonMessage.from_json(document)
        except ValueError as error:
            message = otherwise(error)
            logger.error(  # noqa: TRY400 - the traceback adds nothing
                "Event %s: its entry in the parked list cannot be read: %s; the event is in the "
                "poison queue",
                *(message.id, error),
            )
        await self._persist(self._queue.put, message)
        await self._persist(self._store.announced, self._source, key, position)


def _unread(event: Event, error: ValueError) -> PoisonMessage:
    now = time.time()
    failure = Failure(FailureKind.POISON, error, 0, now, now)
    message = PoisonMessage.from_failure(
        event, failure, handler="", circuit_generation=0, instance=""
    )
    return replace(message, parked=True)
