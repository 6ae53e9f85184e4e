"""Tasks of the elected reader when the hub or the storage cannot be read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore
from console.backplane.coordination import MemoryCoordination
from console.backplane.stream import MemoryBackplane
from console.errors import NotReaderError, OperationsError
from console.live.fanout import Fanout
from console.live.presence import PAGE, TAIL
from console.poison.catalogue import Catalogue
from console.poison.lazy_operations import LazyOperations
from console.reader import tasks as module
from console.reader.tasks import ReaderTasks, count_waiting
from console.reader.vitals import NoVitals
from console.settings import ConsoleSettings
from tests.support.processing.events import event
from tests.unit.processing.redrive.lists import Lists

BREAKER = CircuitBreaker(MemoryCircuitStore("c"), BreakerSettings(name="c"))
REAL = {
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "EventHubConnection": "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=n;SharedAccessKey=k",
    "EVENT_HUB_NAME": "h",
    "REDIS_URL": "redis://127.0.0.1:1/0",
}


class BrokenOperations(LazyOperations):
    """Operations that raise an unexpected error."""

    async def module(self, name: str) -> Any:
        raise ZeroDivisionError(name)


@asynccontextmanager
async def running(
    reader_task: str, operations: LazyOperations
) -> AsyncIterator[asyncio.Queue[tuple[str, Any]]]:
    """Run a reader task while a page and a tail are open; yield the published messages."""
    coordination = MemoryCoordination()
    for name in (PAGE, TAIL):
        await coordination.mark(name, 60)
    fanout = Fanout(MemoryBackplane(coordination))
    settings = ConsoleSettings(token="a-token-of-32-characters-for-test")
    catalogue = Catalogue(operations.poison)
    tasks = ReaderTasks(
        *(coordination, fanout, NoVitals(), operations, settings),
        catalogue=catalogue,
        breaker=BREAKER,
    )
    published: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    async def publish(kind: str, data: Mapping[str, Any]) -> None:
        published.put_nowait((kind, data))

    task = asyncio.create_task(getattr(tasks, reader_task)(publish))
    try:
        yield published
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await operations.aclose()


async def next_message(published: asyncio.Queue[tuple[str, Any]]) -> tuple[str, Any]:
    async with asyncio.timeout(10):
        return await published.get()


@pytest.mark.parametrize(
    ("operations", "problem"),
    [
        (LazyOperations({}), "AzureWebJobsStorage is missing"),
        (LazyOperations(REAL | {"EventHubConnection": "nonsense"}), "EventHubConnection"),
        (LazyOperations(REAL | {"BREAKER_WINDOW_SECONDS": "no"}), "BREAKER_WINDOW_SECONDS"),
        (BrokenOperations({}), "ZeroDivisionError: processing.operations"),
    ],
)
async def test_unreadable_partitions_publish_the_reason(
    monkeypatch: pytest.MonkeyPatch, operations: LazyOperations, problem: str
) -> None:
    """The task retries, and the reader's other tasks continue."""
    monkeypatch.setattr(module, "PARTITIONS_SECONDS", 0.002)
    async with running("partitions", operations) as published:
        for _ in range(2):
            kind, data = await next_message(published)
            assert (kind, data["rows"]) == ("partitions", [])
            assert problem in data["problem"]


@pytest.mark.parametrize("operations", [LazyOperations({}), BrokenOperations({})])
async def test_unreadable_tail_publishes_the_reason(
    monkeypatch: pytest.MonkeyPatch, operations: LazyOperations
) -> None:
    """The page shows the reason instead of an empty tail."""
    monkeypatch.setattr(module, "SECONDS", 0.002)
    async with running("tail", operations) as published:
        kind, data = await next_message(published)
        assert (kind, set(data)) == ("tail", {"time", "problem"})
        assert "Error: " in data["problem"]


async def test_sdk_error_about_a_setting_is_translated() -> None:
    """The SDKs raise ValueError for an invalid connection string."""

    @asynccontextmanager
    async def opening(connection: str) -> AsyncIterator[str]:
        if not connection:
            raise ValueError("Connection string is either blank or malformed.")
        yield connection

    with pytest.raises(
        OperationsError,
        match="a setting of the function app is invalid: Connection string is either",
    ):
        await LazyOperations({}).enter(opening(""))


async def test_replaced_reader_stops_publishing_partitions() -> None:
    """Another instance holds the lease, so the task ends with `NotReaderError`."""
    coordination = MemoryCoordination()
    await coordination.mark(PAGE, 60)
    settings = ConsoleSettings(token="a-token-of-32-characters-for-test")
    fanout = Fanout(MemoryBackplane(coordination))
    operations = LazyOperations({})
    catalogue = Catalogue(operations.poison)
    tasks = ReaderTasks(
        *(coordination, fanout, NoVitals(), operations, settings),
        catalogue=catalogue,
        breaker=BREAKER,
    )

    async def publish(_kind: str, _data: Mapping[str, Any]) -> None:
        raise NotReaderError

    async with asyncio.timeout(10):
        with pytest.raises(NotReaderError):
            await tasks.partitions(publish)


async def test_keys_are_counted_by_the_dependency_that_they_wait_for() -> None:
    """A parked key waits for an operator, and a deferral may name no dependency."""
    site = Lists()
    for number, dependency in enumerate(["bank", "", "mail", "bank"]):
        await site.defer(event(number, f"key-{number}"), dependency=dependency)
    await site.park(event(9, "parked"))
    found = await count_waiting(site.store)
    assert (found.keys, found.deferred, found.needs) == (5, 4, {"bank": 2, "mail": 1})
