"""The live tail of a real hub in which odd events arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from console.errors import NotReaderError
from console.reader import tail as module
from console.reader.tail import Tail
from local.event_hubs import EventHubsServer
from tests.support.event_hubs.client_helpers import HUB, consumer, hub
from tests.support.event_hubs.sdk_leaks import sdk_leaks_collected

NULL_BODY = b"\x00\x53\x77\x40"
INT_BODY = b"\x00\x53\x77\x54\x05"
SEQUENCE_BODY = b"\x00\x53\x76\xc0\x05\x02\x54\x01\x54\x02"
DATA_BODY = b"\x00\x53\x75\xa0\x01x"
CHARACTER = b"\xa1\x01c\x73\x00\x00\x00A"
"""An application property `c` with an AMQP character, which the SDK cannot decode."""
UNDECODABLE = b"\x00\x53\x74\xd1\x00\x00\x00\x0c\x00\x00\x00\x02" + CHARACTER + DATA_BODY


class Shown:
    """The samples and reports of a tail."""

    def __init__(self) -> None:
        self.samples: list[dict[str, Any]] = []
        self.reports: list[str] = []
        self.error: Exception | None = None
        self._changed = asyncio.Event()

    async def show(self, sample: dict[str, Any]) -> None:
        if self.error is not None and sample["partition"] == "0":
            raise self.error
        self.samples.append(sample)
        self._changed.set()

    async def report(self, problem: str) -> None:
        self.reports.append(problem)

    def previews(self, partition: str) -> list[str]:
        return [each["preview"] for each in self.samples if each["partition"] == partition]

    async def changed(self, seconds: float) -> None:
        """Wait until something is shown, at most for some seconds."""
        self._changed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EventHubsServer]:
    monkeypatch.setattr(module, "PER_SECOND", 1000)
    monkeypatch.setattr(module, "BEHIND_SECONDS", 60)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(module, "PARTITIONS_SECONDS", 0.05)
    with sdk_leaks_collected():
        async with EventHubsServer(hub(2)) as server:
            yield server


@asynccontextmanager
async def tailing(server: EventHubsServer) -> AsyncIterator[tuple[Shown, asyncio.Task[None]]]:
    """Run a tail whose receivers are at the ends of partitions 0 and 1."""
    shown = Shown()
    async with consumer(server) as client:
        task = asyncio.create_task(Tail(client, shown.show, shown.report).run())
        try:
            await shows(server, shown, "0", "1")
            yield shown, task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def shows(server: EventHubsServer, shown: Shown, *partitions: str) -> None:
    """Append events to each of the partitions until one of them is shown."""
    log = server.namespace.hub(HUB)
    numbers = {each: log.publish(DATA_BODY, 0, int(each))[0] for each in partitions}

    def are_shown() -> bool:
        latest = {each["partition"]: each["sequence_number"] for each in shown.samples}
        return all(latest.get(each, -1) >= number for each, number in numbers.items())

    async with asyncio.timeout(20):
        while not are_shown():
            await shown.changed(0.1)
            for partition in partitions:
                log.publish(DATA_BODY, 0, int(partition))


async def test_odd_body_is_shown_and_the_tail_continues(server: EventHubsServer) -> None:
    async with tailing(server) as (shown, _):
        log = server.namespace.hub(HUB)
        for body in (NULL_BODY, INT_BODY, SEQUENCE_BODY, DATA_BODY):
            log.publish(body, 0, 0)
        await shows(server, shown, "0", "1")
    odd = ["AMQP value: None", "AMQP value: 5", "AMQP sequence: [[1, 2]]"]
    assert [each for each in shown.previews("0") if each != "x"] == odd
    sizes = {each["preview"]: each["size"] for each in shown.samples}
    assert sizes == {"x": 1} | dict.fromkeys(odd)
    assert shown.reports == []


async def test_undecodable_event_is_reported_and_the_tail_continues(
    server: EventHubsServer,
) -> None:
    """The SDK fails before it hands over the event; the other partition is not interrupted."""
    async with tailing(server) as (shown, _):
        server.namespace.hub(HUB).publish(UNDECODABLE, 0, 0)
        await shows(server, shown, "0", "1")
    assert shown.reports
    assert all(each.startswith("partition 0: ") for each in shown.reports)


async def test_unexpected_error_of_a_partition_interrupts_no_other_one(
    server: EventHubsServer,
) -> None:
    async with tailing(server) as (shown, _):
        shown.error = KeyError("offset")
        server.namespace.hub(HUB).publish(DATA_BODY, 0, 0)
        await shows(server, shown, "1")
        while not shown.reports:
            await shown.changed(0.1)
        shown.error = None
        await shows(server, shown, "0", "1")
    assert set(shown.reports) == {"partition 0: KeyError: 'offset'"}


async def test_partition_that_the_hub_gets_later_is_sampled(server: EventHubsServer) -> None:
    async with tailing(server) as (shown, _):
        server.namespace.hub(HUB).grow(4)
        await shows(server, shown, "0", "1", "2", "3")


async def test_instance_that_is_not_the_reader_ends_its_tail(server: EventHubsServer) -> None:
    async with tailing(server) as (shown, task):
        shown.error = NotReaderError("another instance")
        server.namespace.hub(HUB).publish(DATA_BODY, 0, 0)
        with pytest.raises(NotReaderError):
            await asyncio.wait_for(task, 20)
