"""Parking in a batch: parks a key with its poisoned event, and parks the key's later events."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from processing.event import Event
from processing.handlers.failures.kind import Failure, FailureKind
from processing.identity import Source
from processing.parking.event import ParkedEvent, Position, position_of
from processing.parking.store import Claim, ParkingStore, ParkReply, ParkState
from processing.poison.claim_checks import ClaimChecks
from processing.poison.message import INLINE_BYTES, PoisonMessage
from processing.poison.queue import PoisonQueue
from processing.progress.store import Progress

MOST_EVENTS = 200
MOST_CHARACTERS = 1024 * 1024
"""The limits of one script call; a longer call would delay other clients of Redis."""


logger = logging.getLogger(__name__)


class Persist(Protocol):
    """A function that retries a write until it succeeds, for at most the invocation's hold."""

    async def __call__[*Ts, T](  # noqa: D102
        self, write: Callable[[*Ts], Awaitable[T]], *args: *Ts
    ) -> T: ...


class Parking:
    """The parked lists and the claim checks of their large events.

    Args:
        store: stores parked events.
        claims: stores events that are too large for the parked lists.
    """

    def __init__(self, store: ParkingStore, claims: ClaimChecks) -> None:
        self.store = store
        self.claims = claims

    async def claim(self, source: Source, progress: Progress) -> Claim:
        """Claim the parking of a partition's events, and return its parked and replayed keys.

        Raises:
            StorageUnavailableError: the store did not answer.
        """
        mark = progress.watermark
        watermark = "" if mark is None else position_of(mark)
        return await self.store.claim(source, secrets.token_hex(8), watermark)


class BatchParking:
    """The parking of one batch, whose invocation owns the partition.

    Only the key's own lane can park a key, so an unparked key stays unparked until then. A redrive
    can release a parked key at any time, so the store decides again for every event.

    Args:
        parking: the parked lists.
        source: the batch's partition.
        claim: the claim on the partition, from the start of the batch.
        persist: retries writes that must not be lost.
        poison: the poison queue.
    """

    def __init__(
        self,
        parking: Parking,
        source: Source,
        claim: Claim,
        persist: Persist,
        poison: PoisonQueue,
    ) -> None:
        self._store = parking.store
        self._claims = parking.claims
        self._source = source
        self._claim = claim
        self._persist = persist
        self._queue = poison
        self._parked = set(claim.parked)

    def is_parked(self, key: str | None) -> bool:
        """Return whether the key is parked; a redrive may have released the key since."""
        return key in self._parked

    def replayed(self, key: str | None) -> Position:
        """Return the position of the key's last replayed event, or ""."""
        return self._claim.replayed.get(key, "")

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
        place = self._source, message.key, position_of(message)
        document = await self._persist(self._store.poison, self._claim, *place, small.to_json())
        if document is not None:
            self._parked.add(message.key)
            await self._announce(message.key, position_of(message), document, lambda _error: small)

    async def park(self, events: Sequence[Event]) -> ParkReply:
        """Park the first events of a parked key's lane.

        Returns:
            One state for each event that was taken; the caller passes the others again.

        Raises:
            OwnershipLostError: another instance owns the partition now.
            StorageUnavailableError: the write failed, or the key's list is full.
        """
        key = events[0].key
        chunk = await self._chunk(events)
        reply = await self._persist(self._store.park, self._claim, self._source, key, chunk)
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
        check = await self._persist(self._claims.put_bytes, parked.blob_name, text.encode())
        return parked.with_claim_check(check).to_json()

    async def _announce(
        self,
        key: str | None,
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
