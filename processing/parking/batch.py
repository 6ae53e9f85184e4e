"""Parking as the lanes of a batch see it: what is parked, parking a key, parking behind it."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Protocol

from processing.event import Event, Source
from processing.parking.event import ParkedEvent, Position, position_of
from processing.parking.store import Claim, ParkingStore, ParkReply, ParkState
from processing.poison.claim_checks import ClaimChecks
from processing.poison.message import INLINE_BYTES, PoisonMessage
from processing.poison.queue import PoisonQueue
from processing.progress.store import Progress

MOST_EVENTS = 200
MOST_CHARACTERS = 1024 * 1024
"""What one script call takes along: a longer one would hold up everyone else's."""


class Persist(Protocol):
    """Does a write again until it succeeds, as long as the invocation may be held."""

    async def __call__[**P, T](  # noqa: D102
        self, write: Callable[P, Awaitable[T]], *args: P.args, **options: P.kwargs
    ) -> T: ...


class Parking:
    """Parks what comes behind poisoned events.

    Args:
        store: where parked events are.
        claims: where bodies go that are too large for it.
    """

    def __init__(self, store: ParkingStore, claims: ClaimChecks) -> None:
        self.store = store
        self.claims = claims

    async def claim(self, source: Source, progress: Progress) -> Claim:
        """Become the one who parks events of a partition, and learn what is parked.

        Raises:
            StorageUnavailableError: the store did not answer.
        """
        mark = progress.watermark
        watermark = "" if mark is None else position_of(mark)
        return await self.store.claim(source, secrets.token_hex(8), watermark)


class BatchParking:
    """Parking of one batch, whose invocation is the partition's owner.

    That a key is not parked stays true until its own lane parks it, for nobody else may. That it
    is parked may end at any time, so the store decides for every event anew.

    Args:
        persist: how writes are made that must not be lost.
        poison: the poison queue of now.
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
        """Whether the key is parked, as far as this batch knows."""
        return key in self._parked

    def replayed(self, key: str | None) -> Position:
        """How far a redrive has replayed the key, or ""; what is at or before it is finished."""
        return self._claim.replayed.get(key, "")

    async def poison(self, message: PoisonMessage) -> None:
        """Park a poisoned event's key, and put its message into the poison queue.

        The parked list comes first and holds the message: if this ends in between, the event's
        next delivery finds it there and sends that, instead of asking the handler again.

        Raises:
            OwnershipLostError: another instance owns the partition now.
            StorageUnavailableError: not everything was written.
        """
        small = await self._persist(self._claims.shrink, replace(message, parked=True))
        place = self._source, message.key, position_of(message)
        document = await self._persist(self._store.poison, self._claim, *place, small.to_json())
        if document is not None:
            self._parked.add(message.key)
            await self._announce(message.key, position_of(message), document)

    async def park(self, events: Sequence[Event]) -> ParkReply:
        """Park the first events of a parked key's lane: as many as the reply has states.

        Raises:
            OwnershipLostError: another instance owns the partition now.
            StorageUnavailableError: they were not written, or the key's list is full.
        """
        key = events[0].key
        chunk = await self._chunk(events)
        reply = await self._persist(self._store.park, self._claim, self._source, key, chunk)
        if reply.released:
            self._parked.discard(key)
        place = self._source, key
        for (position, _), state in zip(chunk, reply.states, strict=False):
            if state is ParkState.UNANNOUNCED:
                entry = await self._persist(self._store.document, *place, position)
                if entry is not None:
                    await self._announce(key, position, entry.document)
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
        parked = ParkedEvent(self._source, event)
        text = parked.to_json()
        if len(text) <= INLINE_BYTES:
            return text
        check = await self._persist(self._claims.put_bytes, parked.blob_name, text.encode())
        return parked.checked_in(check).to_json()

    async def _announce(self, key: str | None, position: Position, document: str) -> None:
        message = PoisonMessage.from_json(document)
        await self._persist(self._queue.put, message)
        await self._persist(self._store.announced, self._source, key, position)
