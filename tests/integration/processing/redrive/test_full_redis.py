"""Redrives, discards and the console's lease on a Redis that has no memory left for writes."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from console.backplane.redis_coordination import RedisCoordination
from processing.errors import PoisonEventError
from processing.event import Event
from processing.handlers.retry import Failure, FailureKind
from processing.identity import Source
from processing.operations import open_parking, open_poison, open_redrive
from processing.parking.deferral import Deferral, DeferralReason
from processing.parking.event import ParkedEvent, position_of
from processing.parking.store import WritingAs
from processing.poison.message import PoisonMessage
from processing.redrive.discard import Discard
from processing.redrive.selection import Selection
from processing.wiring import Wiring
from tests.support.own_redis import Server
from tests.support.patience import STORE_SECONDS

EVENTS = 40
"""Events of each key."""


@dataclass
class Site:
    """An app on its own Redis.

    Attributes:
        handled: the file in which the handler notes its events.
    """

    settings: dict[str, str]
    redis: Any
    handled: Path
    source: Source

    def event(self, key: str, number: int) -> Event:
        """Return an event whose sequence number is `number`."""
        return Event(
            body=b"{}",
            key=key,
            properties={},
            source=self.source,
            sequence_number=number,
            offset=str(number),
            enqueued_ms=1_700_000_000_000 + number,
        )

    async def wait_for_operator(self, key: str, first: int) -> PoisonMessage:
        """Park a key behind a poisoned event; return the event's message."""
        async with AsyncExitStack() as opened:
            wiring = Wiring(self.settings, opened)
            store, queue = wiring.parking_store(), await wiring.poison()
            failure = Failure(FailureKind.POISON, PoisonEventError("bad"), 1, 0.0, 0.0)
            message = PoisonMessage.from_failure(
                self.event(key, first), failure, handler="h", circuit_generation=0, instance="i"
            )
            message = replace(message, parked=True)
            writing = WritingAs((await store.claim(self.source)).owner, "")
            place = (self.source, key)
            await store.poison(writing, *place, position_of(message), message.to_json())
            await queue.put(message)
            await store.announced(*place, position_of(message))
            await store.park(writing, *place, self._documents(key, first + 1))
            return message

    async def defer(self, key: str, first: int) -> None:
        """Defer a key."""
        async with AsyncExitStack() as opened:
            store = Wiring(self.settings, opened).parking_store()
            writing = WritingAs((await store.claim(self.source)).owner, "")
            head, *behind = self._documents(key, first)
            await store.defer(
                *(writing, self.source, key, head),
                deferral=Deferral(DeferralReason.DEPENDENCY),
                pause_seconds=3_600,
            )
            await store.park(writing, self.source, key, behind)

    async def fill(self) -> None:
        """Leave Redis no memory for writes."""
        await self.redis.config_set("maxmemory", "1")
        with pytest.raises(OutOfMemoryError):
            await self.redis.set("refused", "1")

    def numbers(self, key: str) -> list[int]:
        """Return the handled sequence numbers of a key, in order."""
        if not self.handled.exists():
            return []
        lines = [line.split() for line in self.handled.read_text().splitlines()]
        return [int(number) for name, number in lines if name == key]

    def _documents(self, key: str, first: int) -> list[tuple[str, str]]:
        events = [self.event(key, number) for number in range(first, first - first % 100 + EVENTS)]
        return [(position_of(each), ParkedEvent(each).to_json()) for each in events]


@pytest.fixture
async def site(stack: dict[str, Any], tmp_path: Path) -> AsyncIterator[Site]:
    server = Server(tmp_path)
    server.start()
    run = secrets.token_hex(4)
    settings = _values(stack) | {
        "REDIS_URL": server.url,
        "EVENT_HUB_NAME": f"hub-{run}",
        "POISON_QUEUE": f"poison-{run}",
        "EVENT_HANDLER": "tests.support.handlers.appending:AppendingHandler",
        "HANDLED_FILE": str(tmp_path / "handled.txt"),
        "PROCESSING_POISON_ORDERING": "park",
        "PROCESSING_MAX_ATTEMPTS": "1",
        "BREAKER_NAME": f"c{run}",
        "BREAKER_STORE_TIMEOUT_SECONDS": f"{STORE_SECONDS}",
    }
    async with AsyncExitStack() as opened:
        wiring = Wiring(settings, opened)
        identity = wiring.connections.identity
        await wiring.migration().ensure()  # as the app does before its first batch
    async with Redis.from_url(server.url, decode_responses=True) as client:
        yield Site(settings, client, tmp_path / "handled.txt", Source(identity, "0"))
    server.stop()


def _values(stack: dict[str, Any]) -> dict[str, str]:
    values: dict[str, str] = json.loads(Path(stack["settings_file"]).read_text())["Values"]
    return values


async def test_full_redis_is_emptied_by_redrive_and_discard(site: Site) -> None:
    """Nothing is lost, each key stays in order, and no restart is needed."""
    await site.wait_for_operator("replayed", 0)
    discarded = await site.wait_for_operator("discarded", 100)
    await site.defer("deferred", 200)
    await site.fill()

    async with open_poison(site.settings) as storage:
        decision = await Discard.decide(
            *(storage.reader, storage.claims, discarded.id),
            own=storage.own,
            by="ann",
            reason="a test",
        )
    async with open_redrive(site.settings, discard=decision) as redrive:
        assert (await redrive.run(Selection(id=discarded.id))).complete
    assert decision.recorded
    assert site.numbers("discarded") == list(range(101, 100 + EVENTS))
    async with open_redrive(site.settings) as redrive:
        summary = await redrive.run()
        assert (summary.replayed, summary.deferred, summary.stopped) == (EVENTS, 1, "")
    async with open_redrive(site.settings) as redrive:
        assert (await redrive.run(Selection(key="deferred"))).complete
    assert site.numbers("replayed") == list(range(EVENTS))
    assert site.numbers("deferred") == list(range(200, 200 + EVENTS))
    async with open_parking(site.settings) as lists:
        assert await lists.store.keys() == []
        assert await lists.now() > 0


async def test_poisoned_event_is_recorded_on_a_full_redis(site: Site) -> None:
    """A redrive may find further poisoned events; each stays in its list with its new error."""
    await site.wait_for_operator("a", 0)
    site.settings["EVENT_HANDLER"] = "tests.support.handlers.refusing:refuse"
    await site.fill()
    async with open_redrive(site.settings) as redrive:
        summary = await redrive.run()
    assert (len(summary.failed), summary.stopped) == (1, "")
    async with open_parking(site.settings) as lists:
        (parked,) = await lists.store.keys()
        assert parked.entries == EVENTS


async def test_console_starts_a_job_on_a_full_redis(site: Site) -> None:
    """The lease of a redrive and the lease of the queue's reader can be acquired and renewed."""
    coordination = RedisCoordination(site.redis, "c", timeout_seconds=STORE_SECONDS)
    await site.fill()
    assert await coordination.acquire("redrive", "one", 15)
    assert await coordination.acquire("redrive", "one", 15)
    assert not await coordination.acquire("redrive", "another", 15)
    await coordination.release("redrive", "one")
    assert await coordination.acquire("redrive", "another", 15)
