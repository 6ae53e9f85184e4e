"""Redrives and discards that operators start."""

from __future__ import annotations

import asyncio
import json
import time
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
from console.live.incident_log import IncidentLog
from console.poison.catalogue import Catalogue
from console.poison.lazy_operations import LazyOperations
from console.poison.redrive import BROWSE, LEASE_SECONDS, REDRIVE, RedriveApi
from processing.errors import DependencyUnavailableError
from processing.event import Event
from processing.handlers.loading import LoadedHandler
from processing.handlers.retry import RetryPolicy
from processing.operations import ParkedLists, PoisonStorage
from processing.parking.batch import Parking
from processing.parking.event import Lone, position_of
from processing.poison.index.memory import MemoryPoisonIndex
from processing.poison.memory import MemoryClaimChecks, MemoryPoisonQueue, MemoryPoisonReader
from processing.poison.queue import Received
from processing.redrive.discard import Discard
from processing.redrive.redrive import Redrive
from processing.redrive.run_store import MemoryRunStore, RunningRedrive, RunPlace
from processing.redrive.runs import RedriveRuns
from tests.support.processing.events import event as new_event
from tests.support.processing.index_entries import compared_with
from tests.unit.console.test_poison import IDENTITY, message
from tests.unit.processing.redrive.lists import Lists


class MemoryOperations(LazyOperations):
    """A poison queue in memory, and a handler that waits for the test's gate."""

    def __init__(self, count: int) -> None:
        super().__init__({})
        self.claims = MemoryClaimChecks()
        self.index = MemoryPoisonIndex(IDENTITY)
        self.queue = MemoryPoisonQueue(self.claims)
        self.queue.messages += [message(number, key=f"K{number}") for number in range(count)]
        self.lists = Lists()
        self.runs = RedriveRuns(MemoryRunStore())
        self.down: set[int] = set()
        self.begun: list[int] = []
        self.handled: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.opened = False
        self.reader: type[MemoryPoisonReader] = MemoryPoisonReader

    async def poison(self) -> PoisonStorage:
        return PoisonStorage(
            self.reader(self.queue),
            self.claims,
            IDENTITY,
            self.index,
            compared_with(self.queue, self.index, IDENTITY),
        )

    async def parking(self) -> ParkedLists:
        async def now() -> float:
            return time.time()

        return ParkedLists(self.lists.store, now, runs=self.runs)

    async def redrive(self, discard: Discard | None = None) -> Any:
        self.opened = True

        async def handle(event: Event) -> None:
            self.begun.append(event.sequence_number)
            if event.sequence_number in self.down:
                raise DependencyUnavailableError("bank is down")
            await self.gate.wait()
            self.handled.append(event.sequence_number)

        @asynccontextmanager
        async def opened() -> AsyncIterator[Redrive]:
            yield Redrive(
                own=IDENTITY,
                reader=(await self.poison()).reader,
                poison=self.queue,
                parking=Parking(self.lists.store, self.claims),
                handler=LoadedHandler("h", handle),
                discard=discard,
                retry=RetryPolicy(max_attempts=1, initial_seconds=0.01, max_seconds=0.01),
            )

        return opened()


@dataclass
class Desk:
    """The redrive API with its backplane, catalogue and log."""

    operations: MemoryOperations
    coordination: MemoryCoordination = field(default_factory=MemoryCoordination)

    def __post_init__(self) -> None:
        self.backplane = MemoryBackplane(self.coordination)
        self.catalogue = Catalogue(self.operations.poison)
        log = IncidentLog(self.backplane)
        parts = (self.operations, self.coordination, self.backplane, log)
        self.api = RedriveApi(*parts, catalogue=self.catalogue)

    async def ask(self, what: str, by: str = "ann", **body: Any) -> int:
        """Start a job and return the response's status."""

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": json.dumps(body).encode()}

        scope = {"type": "http", "headers": [], "state": {"caller": Caller(by)}}
        answer = await getattr(self.api, what)(Request(scope, receive))
        return int(answer.status_code)

    async def ended(self) -> dict[str, Any]:
        """Return the final message about the running job."""
        async with asyncio.timeout(10):
            while await self.coordination.holder(REDRIVE):
                await asyncio.sleep(0.005)
        sent = [each for each in await self.backplane.latest(100) if each.kind == REDRIVE]
        found: dict[str, Any] = json.loads(sent[-1].data)
        assert found["done"]
        return found

    async def lines(self) -> list[tuple[str, str, str]]:
        sent = [each for each in await self.backplane.latest(100) if each.kind == LOG]
        found = [json.loads(each.data) for each in sent]
        return [(line["kind"], line["by"], line["text"]) for line in found]


@pytest.fixture
def desk() -> Desk:
    return Desk(MemoryOperations(2))


async def test_discard_records_the_whole_event(desk: Desk) -> None:
    """The record names operator and reason, and the handler never sees the event."""
    first = desk.operations.queue.messages[0]
    assert await desk.ask("discard", id=first.id, reason="a test of June") == 202
    ended = await desk.ended()
    assert (ended["discarded"], ended["stopped"]) == (True, "")
    assert (ended["replayed"], ended["left"]) == (0, 0)
    assert desk.operations.handled == []
    assert [each.sequence_number for each in desk.operations.queue.messages] == [1]
    record = json.loads(
        desk.operations.claims.blobs[
            "discarded/ns.example.net/hub/$default/default/0/0/1700000000000.json"
        ]
    )
    assert (record["by"], record["reason"]) == ("ann", "a test of June")
    assert record["message"]["body"] == first.body
    assert await desk.lines() == [
        ("discard", "ann", f"discards event {first.id}: a test of June"),
        (
            "discard",
            "ann",
            f"discarded event {first.id}: a test of June; "
            "events behind it: 0 handled, 0 failed again, 0 left",
        ),
    ]


async def test_discard_finds_its_event_without_receiving(desk: Desk) -> None:
    """A search through a long queue would hold all of its messages."""
    received: list[bool] = []

    class Reader(MemoryPoisonReader):
        async def receive(self) -> list[Received]:
            received.append(desk.operations.opened)
            return await super().receive()

    desk.operations.reader = Reader
    event = desk.operations.queue.messages[0].id
    assert await desk.ask("discard", id=event, reason="r") == 202
    assert (await desk.ended())["discarded"]
    assert set(received) == {True}


async def test_shutdown_ends_the_search_of_a_discard(desk: Desk) -> None:
    """Somebody holds the message, so that the whole queue is read."""
    await desk.catalogue.known()
    await MemoryPoisonReader(desk.operations.queue).receive()
    reading = asyncio.Event()

    class Reader(MemoryPoisonReader):
        async def receive(self) -> list[Received]:
            reading.set()
            return await asyncio.Event().wait() and []

    desk.operations.reader = Reader
    event = desk.operations.queue.messages[0].id
    assert await desk.ask("discard", id=event, reason="r") == 202
    async with asyncio.timeout(10):
        await reading.wait()
        await desk.api.aclose()
    ended = await desk.ended()
    assert (ended["stopped"], ended["discarded"]) == (
        "this instance of the console shuts down",
        False,
    )


async def test_discard_of_a_lost_body_says_so(desk: Desk) -> None:
    """A redrive before it counts the event as lost."""
    operations = desk.operations
    large = message(0, key="K0", body=bytes(100_000))
    operations.queue.messages[0] = await operations.claims.shrink(large)
    operations.claims.blobs.clear()
    assert await desk.ask("redrive", id=large.id) == 202
    ended = await desk.ended()
    assert (ended["failed"], ended["lost"]) == (1, 1)
    assert await desk.ask("discard", id=large.id, reason="never") == 202
    ended = await desk.ended()
    assert ended["discarded"]
    assert "is gone" in ended["body_lost"]
    texts = [text for _, _, text in await desk.lines()]
    assert "0 handled, 1 failed again (1 because the body is lost), 0 left" in texts[1]
    assert "the record has no body, because the body was lost" in texts[3]


@pytest.mark.parametrize("act", [("redrive", {}), ("discard", {"reason": "r"})])
async def test_job_for_an_event_outside_the_queue_is_refused(
    desk: Desk, act: tuple[str, dict[str, str]]
) -> None:
    """No job starts, and the next job is not blocked."""
    gone = desk.operations.queue.messages[0].id
    del desk.operations.queue.messages[0]
    with pytest.raises(HTTPException) as refused:
        await desk.ask(act[0], id=gone, **act[1])
    assert (refused.value.status_code, "not in the poison" in refused.value.detail) == (409, True)
    assert await desk.lines() == []
    assert await desk.ask("redrive", all=True) == 202
    assert (await desk.ended())["replayed"] == 1


async def test_event_newer_than_the_cached_list_is_redriven(desk: Desk) -> None:
    """The index does not know the event, so the queue is asked."""
    await desk.catalogue.known()
    late = message(7, key="L")
    desk.operations.queue.messages.append(late)
    assert await desk.ask("redrive", id=late.id) == 202
    assert (await desk.ended())["replayed"] == 1
    assert desk.operations.handled == [7]


@pytest.mark.parametrize("what", ["redrive", "discard"])
async def test_result_names_an_event_that_left_the_queue(desk: Desk, what: str) -> None:
    """The event leaves while the job waits for the queue."""
    first = desk.operations.queue.messages[0].id
    assert await desk.coordination.acquire(BROWSE, "a reader", 60)
    assert await desk.ask(what, id=first, reason="r") == 202
    del desk.operations.queue.messages[0]
    await desk.coordination.release(BROWSE, "a reader")
    ended = await desk.ended()
    assert (ended["replayed"], ended["discarded"]) == (0, False)
    assert "no poison message" in ended["stopped"] or "not in the poison queue" in ended["stopped"]


@pytest.mark.parametrize(
    "body",
    [{"id": "x"}, {"reason": "r"}, {"id": "x", "reason": " "}, {"id": "x", "reason": "r" * 201}],
)
async def test_a_discard_needs_an_event_and_a_reason(desk: Desk, body: dict[str, str]) -> None:
    """A discard cannot be undone."""
    with pytest.raises(HTTPException) as refused:
        await desk.ask("discard", **body)
    assert refused.value.status_code == 400
    assert not await desk.coordination.holder(REDRIVE)


async def test_shutdown_starts_no_waiting_job(desk: Desk) -> None:
    """A job that waits for the queue ends at once without handling an event."""
    await desk.coordination.acquire(BROWSE, "a reader", 60)
    assert await desk.ask("redrive", all=True) == 202
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await desk.api.aclose()
    ended = await desk.ended()
    assert ended["stopped"] == "this instance of the console shuts down"
    assert desk.operations.handled == []


async def test_job_without_its_lease_stops_only_itself(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that lost its lease to another job stops after its current event."""
    now = [0.0]
    desk.coordination._clock = lambda: now[0]
    desk.operations.gate.clear()
    async with asyncio.timeout(5):
        assert await desk.ask("redrive", key="K0") == 202
        [first] = desk.api._running
        while desk.operations.begun != [0]:
            await asyncio.sleep(0)
        now[0] += 2 * LEASE_SECONDS  # an outage of Redis
        assert await desk.ask("redrive", key="K1") == 202
        _, second = desk.api._running
        while desk.operations.begun != [0, 1]:
            await asyncio.sleep(0)
        monkeypatch.setattr("console.poison.redrive.LEASE_SECONDS", 0.03)
        # The jobs' own tasks renew only every five seconds.
        keeping = [asyncio.create_task(desk.api._renew_leases(job)) for job in (second, first)]
        while not first.stopping:
            await asyncio.sleep(0)
    assert (first.stopping, second.stopping) == ("another redrive has begun", "")
    for task in keeping:
        task.cancel()
    desk.operations.gate.set()
    await asyncio.gather(*desk.api._running.values())
    assert desk.operations.handled == [0, 1]


async def test_deferred_key_is_redriven_by_its_name(desk: Desk) -> None:
    """A redrive of everything leaves the key alone, and its line says so."""
    lists = desk.operations.lists
    await lists.defer(new_event(10, "slow"), new_event(11, "slow"))
    assert await desk.ask("redrive", all=True) == 202
    ended = await desk.ended()
    assert (ended["replayed"], ended["deferred"], ended["stopped"]) == (2, 1, "")
    assert "1 deferred keys left alone" in (await desk.lines())[-1][2]
    assert await desk.ask("redrive", key="slow") == 202
    ended = await desk.ended()
    assert (ended["replayed"], ended["left"], ended["deferred"]) == (2, 0, 0)
    assert desk.operations.handled[-2:] == [10, 11]


async def test_event_that_waits_alone_is_redriven_by_its_id(desk: Desk) -> None:
    """The event is in no queue, so only its list shows that it exists."""
    alone = new_event(10, None)
    await desk.operations.lists.defer(alone, name=Lone(position_of(alone)))
    assert await desk.ask("redrive", id=alone.id) == 202
    assert (await desk.ended())["replayed"] == 1
    with pytest.raises(HTTPException) as refused:
        await desk.ask("redrive", id=alone.id)
    assert refused.value.status_code == 409


async def test_result_names_the_dependency_that_keeps_a_key_deferred(desk: Desk) -> None:
    """The counts alone would not say why nothing was handled."""
    await desk.operations.lists.defer(new_event(10, "slow"))
    desk.operations.down = {10}
    await desk.ask("redrive", key="slow")
    ended = await desk.ended()
    assert (ended["replayed"], ended["left"]) == (0, 1)
    assert "stays deferred" in ended["stopped"]
    assert "bank is down" in ended["stopped"]


async def test_job_is_shown_to_all_tools_with_its_progress(desk: Desk) -> None:
    """The command line names the console's operator."""
    desk.operations.gate.clear()
    assert await desk.ask("redrive", all=True) == 202
    async with asyncio.timeout(10):
        while len(desk.operations.begun) < 2:
            await asyncio.sleep(0)
    (run,) = await desk.operations.runs.running()
    assert (run.by, run.where, run.is_of_all, run.discards) == (
        "ann",
        RunPlace.CONSOLE,
        True,
        False,
    )
    with pytest.raises(HTTPException) as refused:
        await desk.ask("redrive", key="K0", by="bob")
    assert refused.value.status_code == 409
    assert "another redrive is running: ann redrives everything from the" in refused.value.detail
    desk.operations.gate.set()
    await desk.ended()
    assert await desk.operations.runs.running() == []


async def test_second_redrive_of_everything_is_refused_with_the_first_ones_progress(
    desk: Desk,
) -> None:
    """The first one runs on the command line; a redrive of one key may run beside it."""
    async with desk.operations.runs.entered(RunningRedrive("anna@host1")):
        with pytest.raises(HTTPException) as refused:
            await desk.ask("redrive", all=True)
        assert refused.value.status_code == 409
        assert "is running: anna@host1 redrives everything" in refused.value.detail
        assert not await desk.coordination.holder(REDRIVE)
        assert await desk.ask("redrive", key="K0") == 202
        assert (await desk.ended())["replayed"] == 1
    assert await desk.ask("redrive", all=True) == 202
    assert (await desk.ended())["replayed"] == 1


async def test_redrive_of_everything_that_begins_at_the_same_time_is_refused(desk: Desk) -> None:
    """The other one begins between the check and the beginning of the job."""
    assert await desk.coordination.acquire(BROWSE, "a reader", 60)
    assert await desk.ask("redrive", all=True) == 202
    async with desk.operations.runs.entered(RunningRedrive("anna@host1")):
        await desk.coordination.release(BROWSE, "a reader")
        ended = await desk.ended()
    assert "is running: anna@host1 redrives everything" in ended["stopped"]
    assert desk.operations.handled == []
