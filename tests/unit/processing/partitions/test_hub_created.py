"""The hub's time of creation, which is read at most once in a while."""

from __future__ import annotations

import asyncio

import pytest

from breaker.clock import ManualClock
from processing.errors import StorageUnavailableError
from processing.partitions.hub_created import READ_SECONDS, HubCreated


class Asking:
    """A hub that counts its requests."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.asked = 0
        self.away = False
        self.answers = asyncio.Event()
        self.answers.set()
        self.created = HubCreated(self.read, clock=self.clock.monotonic)

    async def read(self) -> int:
        self.asked += 1
        await self.answers.wait()
        if self.away:
            raise StorageUnavailableError("event hub: no route")
        return 100 + self.asked


@pytest.fixture
def hub() -> Asking:
    return Asking()


async def test_hub_is_asked_once_in_fifteen_seconds(hub: Asking) -> None:
    assert hub.created.created_ms == 0
    assert await hub.created.latest() == 101
    hub.clock.advance(READ_SECONDS)
    assert await hub.created.latest() == 101
    hub.clock.advance(0.1)
    assert await hub.created.latest() == 102


async def test_answer_of_the_survey_counts(hub: Asking) -> None:
    hub.created.note(7)
    hub.clock.advance(READ_SECONDS)
    assert (await hub.created.latest(), hub.asked) == (7, 0)


async def test_calls_at_once_cause_one_request(hub: Asking) -> None:
    hub.answers.clear()
    calls = [asyncio.create_task(hub.created.latest()) for _ in range(3)]
    await asyncio.sleep(0)
    hub.answers.set()
    assert await asyncio.gather(*calls) == [101, 101, 101]


async def test_fresh_answer_is_younger_than_the_question(hub: Asking) -> None:
    """An odd event is judged by an answer that the hub gave after the event."""
    hub.created.note(7)
    hub.clock.advance(0.1)
    assert await hub.created.latest(within_seconds=0) == 101


async def test_hub_that_does_not_answer_keeps_the_known_time(hub: Asking) -> None:
    hub.created.note(7)
    hub.clock.advance(60)
    hub.away = True
    with pytest.raises(StorageUnavailableError):
        await hub.created.latest()
    assert hub.created.created_ms == 7
