"""A handler's Redis that answers but refuses writes for a while, in the middle of a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from processing.event import Event
from tests.support.own_redis import Server
from tests.support.processing.events import batch
from tests.support.processing.processor_rig import in_order, keyed, open_rig

REFUSING = {
    "read only": ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    "out of memory": ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
    "no replicas": ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"),
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    own = Server(tmp_path)
    own.start()
    try:
        yield own
    finally:
        own.stop()


@pytest.mark.parametrize("state", REFUSING)
async def test_redis_that_refuses_writes_poisons_nothing(state: str, server: Server) -> None:
    """All events are handled once writes succeed again, each key's in order."""
    begin, end = REFUSING[state]
    refused = 0
    settings = {"retry_initial_seconds": 0.01, "dependency_pause_seconds": 0.02, "max_attempts": 2}
    async with Redis(port=server.port) as client:

        async def send(command: str) -> None:
            await client.execute_command(*command.split())  # type: ignore[no-untyped-call]

        async def handle(each: Event) -> None:
            nonlocal refused
            if each.sequence_number == 10 and refused == 0:
                await send(begin)
                asyncio.get_running_loop().call_later(0.2, recovering.set)
            try:
                await client.set(f"order:{each.sequence_number}", "done")
            except Exception:
                refused += 1
                raise

        async def recover() -> None:
            await recovering.wait()
            await send(end)

        recovering = asyncio.Event()
        events = keyed(*"abcde" * 10)
        rules = {"failure_threshold": 10_000}  # nobody approves here
        async with (
            open_rig(handle, settings=settings, breaker_settings=rules) as rig,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(recover())
            await rig.processor.process(batch(events))
        assert refused > 0
        assert rig.poisoned == []
        assert sorted(rig.handled) == list(range(50))
        assert in_order(events, rig.handled)
