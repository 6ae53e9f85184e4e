"""Dequeue counts and visibility timeouts of the queue trigger, on real storage."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from azure.core.exceptions import AzureError
from azure.storage.queue.aio import QueueClient

from breaker.configuration.host_options import QueuesOptions
from local.functions_host.triggers import queue as module
from local.functions_host.triggers.queue import QueueListener
from local.functions_host.worker.execution import Executor
from local.functions_host.worker.functions import Function
from local.functions_host.worker.retry_policy import RetryPolicy
from local.functions_host.worker.worker import Datum, Result

FUNCTION = Function("take", "id", {"type": "queueTrigger", "name": "message"}, (), None)


@dataclass
class Runs:
    """A worker that succeeds, after `during` if given."""

    during: Callable[[], Awaitable[None]] | None = None
    counts: list[int] = field(default_factory=list)

    async def invoke(
        self,
        function: Function,
        invocation_id: str,
        inputs: list[tuple[str, Datum]],
        metadata: dict[str, Datum],
        *,
        retry: RetryPolicy | None = None,
        retry_count: int = 0,
    ) -> Result:
        self.counts.append(int(metadata["DequeueCount"].value))
        if self.during is not None:
            await self.during()
        return Result(ok=True, value=None, outputs={})


@pytest.fixture
async def queue(azurite: str) -> AsyncIterator[QueueClient]:
    name = f"q{uuid.uuid4().hex[:10]}"
    async with QueueClient.from_connection_string(azurite, name) as client:
        await client.create_queue()
        yield client


def listener(azurite: str, queue: QueueClient, runs: Runs, most: int) -> QueueListener:
    options = QueuesOptions(max_dequeue_count=most, message_encoding="none")
    return QueueListener(FUNCTION, azurite, queue.queue_name, options, Executor(runs))


async def _count(queue: QueueClient) -> int:
    return int((await queue.get_queue_properties()).approximate_message_count or 0)


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.02)


async def test_a_message_that_ended_its_hosts_is_moved_without_another_run(
    azurite: str, queue: QueueClient
) -> None:
    """Otherwise such a message would end every host that receives it."""
    await queue.send_message("deadly")
    for _ in range(2):
        message = await queue.receive_message(visibility_timeout=60)
        assert message is not None
        await queue.update_message(message, visibility_timeout=0)
    runs = Runs()
    listening = listener(azurite, queue, runs, most=2)
    await listening.start()
    name = f"{queue.queue_name}-poison"
    async with QueueClient.from_connection_string(azurite, name) as poison:

        async def moved() -> bool:
            try:
                return [m.content for m in await poison.peek_messages()] == ["deadly"]
            except AzureError:
                return False  # the first message creates the queue

        await _until(moved)
    await _until(lambda: _is_empty(queue))
    await listening.stop(5)
    assert runs.counts == []


async def _is_empty(queue: QueueClient) -> bool:
    return await _count(queue) == 0


async def test_a_message_stays_hidden_while_its_function_runs(
    azurite: str, queue: QueueClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each renewal has a receipt of its own, and the last one deletes the message."""
    monkeypatch.setattr(module, "_RENEW_SECONDS", 0.05)
    receipts: set[str] = set()
    update = QueueClient.update_message

    async def noted(client: QueueClient, *arguments: object, **options: object) -> object:
        fresh = await update(client, *arguments, **options)  # type: ignore[arg-type]
        receipts.add(str(fresh.pop_receipt))
        return fresh

    monkeypatch.setattr(QueueClient, "update_message", noted)

    async def renewed() -> bool:
        return len(receipts) >= 2

    runs = Runs(during=lambda: _until(renewed))
    listening = listener(azurite, queue, runs, most=5)
    await listening.start()
    await queue.send_message("long")
    await _until(renewed)
    await _until(lambda: _is_empty(queue))
    await listening.stop(5)
    assert runs.counts == [1]
