"""What the elected reader says when there is something that it cannot read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from console.backplane.coordination import MemoryCoordination
from console.backplane.stream import MemoryBackplane
from console.errors import NotReaderError, OperationsError
from console.live.fanout import Fanout
from console.live.presence import PAGE, TAIL
from console.poison.lazy_operations import LazyOperations
from console.reader import duties as module
from console.reader.duties import ReaderTasks
from console.reader.vitals import NoVitals
from console.settings import ConsoleSettings

REAL = {
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "EventHubConnection": "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=n;SharedAccessKey=k",
    "EVENT_HUB_NAME": "h",
    "REDIS_URL": "redis://127.0.0.1:1/0",
}


class BrokenOperations(LazyOperations):
    """Whose hub fails in a way that nobody foresaw."""

    async def module(self, name: str) -> Any:
        raise ZeroDivisionError(name)


@asynccontextmanager
async def running(
    reader_task: str, operations: LazyOperations
) -> AsyncIterator[asyncio.Queue[tuple[str, Any]]]:
    """A duty, and what it says, while somebody looks at everything."""
    coordination = MemoryCoordination()
    for name in (PAGE, TAIL):
        await coordination.mark(name, 60)
    fanout = Fanout(MemoryBackplane(coordination))
    settings = ConsoleSettings(token="a-token-of-32-characters-for-test")
    tasks = ReaderTasks(coordination, fanout, NoVitals(), operations, settings, failures=lambda: 0)
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
async def test_a_table_that_cannot_be_read_says_why(
    monkeypatch: pytest.MonkeyPatch, operations: LazyOperations, problem: str
) -> None:
    """And it is tried again; what else the reader does is not disturbed."""
    monkeypatch.setattr(module, "PARTITIONS_SECONDS", 0.002)
    async with running("partitions", operations) as published:
        for _ in range(2):
            kind, data = await next_message(published)
            assert (kind, data["rows"]) == ("partitions", [])
            assert problem in data["problem"]


@pytest.mark.parametrize("operations", [LazyOperations({}), BrokenOperations({})])
async def test_a_tail_that_cannot_be_read_says_why(
    monkeypatch: pytest.MonkeyPatch, operations: LazyOperations
) -> None:
    """Instead of letting an operator wait for events."""
    monkeypatch.setattr(module, "SECONDS", 0.002)
    async with running("tail", operations) as published:
        kind, data = await next_message(published)
        assert (kind, set(data)) == ("tail", {"time", "problem"})
        assert "Error: " in data["problem"]


async def test_what_an_sdk_says_to_a_setting_is_told() -> None:
    """It raises no error of ours."""

    @asynccontextmanager
    async def opening(connection: str) -> AsyncIterator[str]:
        if not connection:
            raise ValueError("Connection string is either blank or malformed.")
        yield connection

    with pytest.raises(
        OperationsError, match="a setting cannot be used: Connection string is either"
    ):
        await LazyOperations({}).enter(opening(""))


async def test_one_that_was_replaced_ends() -> None:
    """Though its table was read: the lease is somebody else's."""
    coordination = MemoryCoordination()
    await coordination.mark(PAGE, 60)
    settings = ConsoleSettings(token="a-token-of-32-characters-for-test")
    fanout = Fanout(MemoryBackplane(coordination))
    tasks = ReaderTasks(
        coordination, fanout, NoVitals(), LazyOperations({}), settings, failures=lambda: 0
    )

    async def publish(_kind: str, _data: Mapping[str, Any]) -> None:
        raise NotReaderError

    async with asyncio.timeout(10):
        with pytest.raises(NotReaderError):
            await tasks.partitions(publish)
