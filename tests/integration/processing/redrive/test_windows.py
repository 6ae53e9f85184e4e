"""Redrives in windows on real Redis and Azurite."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from processing.errors import PoisonEventError
from processing.event import Event
from processing.handlers.loading import LoadedHandler
from processing.handlers.retry import Failure, FailureKind, RetryPolicy
from processing.identity import Source
from processing.poison.index.redis import RedisPoisonIndex
from processing.poison.message import PoisonMessage
from processing.poison.queue import PoisonReader
from processing.poison.side_by_side import side_by_side
from processing.redrive.redrive import Redrive
from processing.redrive.selection import Selection
from processing.wiring import Wiring

COUNT, KEYS, WINDOW = 80, 4, 32


@dataclass
class Site:
    """An app with many poison messages, and its operators."""

    wiring: Wiring
    reader: PoisonReader
    index: RedisPoisonIndex
    handled: list[int] = field(default_factory=list)
    bad: set[int] = field(default_factory=set)

    async def _handle(self, event: Event) -> None:
        await asyncio.sleep(0)
        if event.sequence_number in self.bad:
            raise PoisonEventError("bad")
        self.handled.append(event.sequence_number)

    async def redrive(self, **options: Any) -> Redrive:
        return Redrive(
            own=self.wiring.connections.identity,
            reader=self.reader,
            poison=await self.wiring.poison(),
            parking=await self.wiring.parking(),
            handler=LoadedHandler("tests:handler", self._handle),
            retry=RetryPolicy(max_attempts=1, initial_seconds=0, max_seconds=0),
            index=self.index,
            compare=(await self.wiring.comparison()).ensure,
            window=WINDOW,
            **options,
        )

    async def fill(self) -> None:
        """Put messages into the queue in any order, as the app does."""
        await (await self.wiring.queue()).create_queue()
        await (await self.wiring.comparison()).ensure()
        poison = await self.wiring.poison()
        source = Source(self.wiring.connections.identity, "0")
        failure = Failure(FailureKind.POISON, PoisonEventError("bad"), 1, 0.0, 0.0)

        async def put(number: int) -> None:
            event = Event(
                body=b"{}",
                key=f"key-{number % KEYS}",
                properties={},
                source=source,
                sequence_number=number,
                offset=str(number),
                enqueued_ms=1_700_000_000_000 + number,
            )
            message = PoisonMessage.from_failure(
                event, failure, handler="h", circuit_generation=0, instance="test"
            )
            await poison.put(message)

        await side_by_side(reversed(range(COUNT)), put)


@pytest.fixture
async def site(stack: dict[str, Any]) -> AsyncIterator[Site]:
    run = secrets.token_hex(4)
    values = _values(stack) | {
        "EVENT_HUB_CONSUMER_GROUP": f"group-{run}",
        "POISON_QUEUE": f"poison-{run}",
    }
    async with AsyncExitStack() as opened:
        wiring = Wiring(values, opened)
        site = Site(wiring, await wiring.poison_reader(), wiring.poison_index())
        await site.fill()
        yield site


def _values(stack: dict[str, Any]) -> dict[str, str]:
    values: dict[str, str] = json.loads(Path(stack["settings_file"]).read_text())["Values"]
    return values


async def test_failed_and_held_messages_of_a_large_queue(site: Site) -> None:
    """Each key keeps its order, and the next redrive finds its messages through the index."""
    first = (await site.index.of_key("key-3")).entries[0]
    held = await site.reader.take(first)
    site.bad = {8}
    summary = await (await site.redrive()).run()
    for number in range(3):
        expected = [each for each in range(number, COUNT, KEYS) if each != 8]
        assert [each for each in site.handled if each % KEYS == number] == expected
    assert (summary.replayed, len(summary.failed), summary.busy) == (COUNT * 3 // 4 - 1, 1, 1)
    assert (summary.held_elsewhere, await site.reader.count()) == (1, COUNT // 4 + 1)
    await site.reader.put_back(held)  # type: ignore[arg-type]
    site.bad.clear()
    site.handled.clear()
    assert (await (await site.redrive()).run(Selection(key="key-0"))).complete
    assert site.handled == [8]
    assert (await (await site.redrive()).run()).replayed == COUNT // 4
    assert site.handled == [8, *range(3, COUNT, KEYS)]
    assert await site.reader.count() == (await site.index.state()).entries == 0
