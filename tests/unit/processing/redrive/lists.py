"""Parked and deferred lists on in-memory stores, and redrives of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from processing.errors import DependencyUnavailableError, PoisonEventError
from processing.event import Event
from processing.handlers.loading import LoadedHandler
from processing.handlers.retry import Failure, FailureKind, RetryPolicy
from processing.parking.batch import Parking
from processing.parking.deferral import Deferral, DeferralReason
from processing.parking.event import ListKey, ParkedEvent, position_of
from processing.parking.memory import MemoryParkingStore
from processing.parking.store import WritingAs
from processing.poison.memory import MemoryClaimChecks, MemoryPoisonQueue, MemoryPoisonReader
from processing.poison.message import PoisonMessage
from processing.redrive.redrive import Redrive
from tests.support.processing.events import IDENTITY, SOURCE

BANK_IS_DOWN = "DependencyUnavailableError: bank is down"


class Lists:
    """In-memory stores, and a handler that records its events.

    Attributes:
        handled: sequence numbers in the order in which the handler took them.
        bad: sequence numbers of events that are poison.
        down: sequence numbers of events whose dependency is down.
        before: awaited with each event before the event is handled.
    """

    def __init__(self) -> None:
        self.claims = MemoryClaimChecks()
        self.queue = MemoryPoisonQueue(self.claims)
        self.reader = MemoryPoisonReader(self.queue)
        self.store = MemoryParkingStore()
        self.handled: list[int] = []
        self.bad: set[int] = set()
        self.down: set[int] = set()
        self.before: Callable[[Event], Awaitable[None]] | None = None

    async def _handle(self, event: Event) -> None:
        if self.before is not None:
            await self.before(event)
        if event.sequence_number in self.down:
            raise DependencyUnavailableError("bank is down")
        if event.sequence_number in self.bad:
            raise PoisonEventError("bad")
        self.handled.append(event.sequence_number)

    def redrive(self, **options: Any) -> Redrive:
        """Return an operator's redrive."""
        parts: dict[str, Any] = {
            "own": IDENTITY,
            "reader": self.reader,
            "poison": self.queue,
            "parking": Parking(self.store, self.claims),
            "handler": LoadedHandler("tests:handler", self._handle),
            "retry": RetryPolicy(max_attempts=1, initial_seconds=0, max_seconds=0),
            "instance": "test:op",
        }
        return Redrive(**(parts | options))

    async def defer(
        self,
        *events: Event,
        name: ListKey = "",
        pause_seconds: float = 60.0,
        reason: DeferralReason = DeferralReason.DEPENDENCY,
        dependency: str = "bank",
    ) -> None:
        """Defer the events' key; `name` is the name of its list if that is not the key."""
        writing = await self._writing()
        key = name or events[0].key
        first, *behind = [
            (position_of(each), (await self._parked(each)).to_json()) for each in events
        ]
        await self.store.defer(
            *(writing, SOURCE, key, first),
            deferral=Deferral(reason, dependency=dependency, error=BANK_IS_DOWN, attempts=3),
            pause_seconds=pause_seconds,
        )
        if behind:
            await self.store.park(writing, SOURCE, key, behind)

    async def park(self, poisoned: Event, *behind: Event, name: ListKey = "") -> None:
        """Park the events' key behind a poisoned event, whose message is in the queue."""
        writing = await self._writing()
        key = name or poisoned.key
        message = await self.poison(poisoned, parked=True)
        await self.store.poison(writing, SOURCE, key, position_of(poisoned), message.to_json())
        await self.store.announced(SOURCE, key, position_of(poisoned))
        if behind:
            rest = [(position_of(each), ParkedEvent(each).to_json()) for each in behind]
            await self.store.park(writing, SOURCE, key, rest)

    async def poison(self, event: Event, *, parked: bool = False) -> PoisonMessage:
        """Put an event's message into the poison queue."""
        failure = Failure(FailureKind.POISON, PoisonEventError("bad"), 1, 0.0, 0.0)
        message = PoisonMessage.from_failure(
            event, failure, handler="h", circuit_generation=0, instance="test:1"
        )
        message = await self.claims.shrink(replace(message, parked=parked))
        await self.queue.put(message)
        return message

    @property
    def queued(self) -> list[int]:
        """Sequence numbers in the poison queue."""
        return sorted(message.sequence_number for message in self.queue.messages)

    async def lists(self) -> dict[ListKey, tuple[str, int]]:
        """Return the state and the number of entries of each list."""
        return {
            each.key: ("parked" if each.deferral is None else "deferred", each.entries)
            for each in await self.store.keys()
        }

    async def _writing(self) -> WritingAs:
        return WritingAs((await self.store.claim(SOURCE)).owner, "")

    async def _parked(self, event: Event) -> ParkedEvent:
        parked = ParkedEvent(event)
        if len(parked.to_json()) <= 48 * 1024:
            return parked
        check = await self.claims.put(parked)
        return parked.with_claim_check(check)
