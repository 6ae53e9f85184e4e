"""Jobs over the poison queue, as operators start them: redrive and discard."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from console.access.auth import Caller
from console.backplane.coordination import MemoryCoordination
from console.backplane.stream import LOG, MemoryBackplane
from console.errors import OperationsError
from console.live.incident_log import IncidentLog
from console.poison import catalogue as poison_module
from console.poison.catalogue import BROWSE, Catalogue
from console.poison.lazy_operations import LazyOperations
from console.poison.redrive import LEASE_SECONDS, REDRIVE, RedriveApi
from processing.event import Event
from processing.handlers.loading import LoadedHandler
from processing.handlers.retry import RetryPolicy
from processing.operations import PoisonStorage
from processing.parking.batch import Parking
from processing.parking.memory import MemoryParkingStore
from processing.poison.memory import MemoryClaimChecks, MemoryPoisonQueue, MemoryPoisonReader
from processing.redrive.discard import Discard
from processing.redrive.redrive import Redrive
from tests.unit.console.test_poison import message


class MemoryOperations(LazyOperations):
    """A poison queue in memory, and a handler that takes what it is let."""

    def __init__(self, count: int) -> None:
        super().__init__({})
        self.queue = MemoryPoisonQueue()
        self.queue.messages += [message(number, key=f"K{number}") for number in range(count)]
        self.claims = MemoryClaimChecks()
        self.begun: list[int] = []
        self.handled: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def poison(self) -> PoisonStorage:
        return PoisonStorage(MemoryPoisonReader(self.queue), self.claims)

    async def redrive(self, discard: Discard | None = None) -> Any:
        async def handle(event: Event) -> None:
            self.begun.append(event.sequence_number)
            await self.gate.wait()
            self.handled.append(event.sequence_number)

        @asynccontextmanager
        async def opened() -> AsyncIterator[Redrive]:
            yield Redrive(
                reader=(await self.poison()).reader,
                poison=self.queue,
                parking=Parking(MemoryParkingStore(), self.claims),
                handler=LoadedHandler("h", handle),
                discard=discard,
                retry=RetryPolicy(max_attempts=1, initial_seconds=0.01, max_seconds=0.01),
            )

        return opened()


@dataclass
class Desk:
    """What operators have before them."""

    operations: MemoryOperations
    coordination: MemoryCoordination = field(default_factory=MemoryCoordination)

    def __post_init__(self) -> None:
        self.backplane = MemoryBackplane(self.coordination)
        self.catalogue = Catalogue(self.operations.poison, self.coordination)
        log = IncidentLog(self.backplane)
        parts = (self.operations, self.coordination, self.backplane, log, self.catalogue)
        self.api = RedriveApi(*parts)

    async def ask(self, what: str, by: str = "ann", **body: Any) -> int:
        """Start a job; the status."""

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": json.dumps(body).encode()}

        scope = {"type": "http", "headers": [], "state": {"caller": Caller(by)}}
        answer = await getattr(self.api, what)(Request(scope, receive))
        return int(answer.status_code)

    async def ended(self) -> dict[str, Any]:
        """The last word about the job that runs."""
        async with asyncio.timeout(10):
            while await self.coordination.holder(REDRIVE):
                await asyncio.sleep(0.005)
        said = [each for each in await self.backplane.latest(100) if each.kind == REDRIVE]
        found: dict[str, Any] = json.loads(said[-1].data)
        assert found["done"]
        return found

    async def lines(self) -> list[tuple[str, str, str]]:
        said = [each for each in await self.backplane.latest(100) if each.kind == LOG]
        found = [json.loads(each.data) for each in said]
        return [(line["kind"], line["by"], line["text"]) for line in found]


@pytest.fixture
def desk() -> Desk:
    return Desk(MemoryOperations(2))


async def test_an_event_is_discarded_on_record(desk: Desk) -> None:
    """Whose word it was, when and why, with the event whole; the handler never sees it."""
    first = desk.operations.queue.messages[0]
    assert await desk.ask("discard", id=first.id, reason="a test of June") == 202
    ended = await desk.ended()
    assert (ended["discarded"], ended["stopped"]) == (True, "")
    assert (ended["replayed"], ended["left"]) == (0, 0)
    assert desk.operations.handled == []
    assert [each.sequence_number for each in desk.operations.queue.messages] == [1]
    record = json.loads(desk.operations.claims.blobs[f"discarded/{first.id}.json"])
    assert (record["by"], record["reason"]) == ("ann", "a test of June")
    assert record["message"]["body"] == first.body
    assert await desk.lines() == [
        ("discard", "ann", f"discards event {first.id}: a test of June"),
        (
            "discard",
            "ann",
            f"discarded event {first.id}: a test of June; "
            "behind it: 0 handled, 0 failed again, 0 left",
        ),
    ]


@pytest.mark.parametrize("act", [("redrive", {}), ("discard", {"reason": "r"})])
async def test_what_is_gone_is_refused(desk: Desk, act: tuple[str, dict[str, str]]) -> None:
    """Somebody else was quicker; nothing begins, and the next one may."""
    gone = desk.operations.queue.messages[0].id
    await desk.catalogue.messages()
    del desk.operations.queue.messages[0]
    desk.catalogue._until = 0.0
    with pytest.raises(HTTPException) as refused:
        await desk.ask(act[0], id=gone, **act[1])
    assert (refused.value.status_code, "any more" in refused.value.detail) == (409, True)
    assert await desk.lines() == []
    assert await desk.ask("redrive", all=True) == 202
    assert (await desk.ended())["replayed"] == 1


async def test_what_came_a_moment_ago_is_not_gone(desk: Desk) -> None:
    """The list that is looked into first may be older than the page's."""
    await desk.catalogue.messages()
    late = message(7, key="L")
    desk.operations.queue.messages.append(late)
    assert await desk.ask("redrive", id=late.id) == 202
    assert (await desk.ended())["replayed"] == 1
    assert desk.operations.handled == [7]


@pytest.mark.parametrize("what", ["redrive", "discard"])
async def test_what_leaves_the_queue_meanwhile_is_said(desk: Desk, what: str) -> None:
    """The job had begun, and waited for its turn."""
    first = desk.operations.queue.messages[0].id
    assert await desk.coordination.acquire(BROWSE, "a look", 60)
    desk.catalogue._messages, desk.catalogue.read_at = list(desk.operations.queue.messages), 1.0
    assert await desk.ask(what, id=first, reason="r") == 202
    del desk.operations.queue.messages[0]
    await desk.coordination.release(BROWSE, "a look")
    ended = await desk.ended()
    assert (ended["replayed"], ended["discarded"]) == (0, False)
    assert "no poison message" in ended["stopped"] or "not in the poison queue" in ended["stopped"]


@pytest.mark.parametrize(
    "body",
    [{"id": "x"}, {"reason": "r"}, {"id": "x", "reason": " "}, {"id": "x", "reason": "r" * 201}],
)
async def test_a_discard_needs_an_event_and_a_reason(desk: Desk, body: dict[str, str]) -> None:
    """It is for good."""
    with pytest.raises(HTTPException) as refused:
        await desk.ask("discard", **body)
    assert refused.value.status_code == 400
    assert not await desk.coordination.holder(REDRIVE)


async def test_a_console_that_ends_begins_nothing(desk: Desk) -> None:
    """A job that still waits for its turn is over at once; nothing of it was tried."""
    await desk.coordination.acquire(BROWSE, "a look", 60)
    desk.catalogue.read_at = 1.0
    assert await desk.ask("redrive", all=True) == 202
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await desk.api.aclose()
    ended = await desk.ended()
    assert (ended["stopped"], desk.operations.handled) == ("this instance of the console ends", [])


async def test_a_job_stops_itself_and_no_other(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose lease is somebody else's, behind the event that it is at; that one goes on."""
    now = [0.0]
    desk.coordination._clock = lambda: now[0]
    desk.operations.gate.clear()
    async with asyncio.timeout(5):
        assert await desk.ask("redrive", key="K0") == 202
        [first] = desk.api._running
        while desk.operations.begun != [0]:
            await asyncio.sleep(0)
        now[0] += 2 * LEASE_SECONDS  # Redis was away
        assert await desk.ask("redrive", key="K1") == 202
        _, second = desk.api._running
        while desk.operations.begun != [0, 1]:
            await asyncio.sleep(0)
        monkeypatch.setattr("console.poison.redrive.LEASE_SECONDS", 0.03)
        # Their own ask every five seconds.
        keeping = [asyncio.create_task(desk.api._renew_leases(job)) for job in (second, first)]
        while not first.stopping:
            await asyncio.sleep(0)
    assert (first.stopping, second.stopping) == ("another redrive has begun", "")
    for task in keeping:
        task.cancel()
    desk.operations.gate.set()
    await asyncio.gather(*desk.api._running.values())
    assert desk.operations.handled == [0, 1]


async def test_a_queue_that_others_hold_is_not_called_empty(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator who comes in the middle of a redrive is told so."""
    monkeypatch.setattr(poison_module, "WAIT_SECONDS", 0.05)
    await desk.coordination.acquire(BROWSE, "job", 60)
    with pytest.raises(OperationsError, match="holds the poison queue"):
        await desk.catalogue.messages()
    await desk.coordination.release(BROWSE, "job")
    assert len((await desk.catalogue.messages())[0]) == 2
