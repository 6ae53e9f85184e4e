"""Health reports of an instance: ok, holding and degraded."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any, cast

import pytest
from azure.eventhub.aio import EventHubConsumerClient
from azure.eventhub.exceptions import ConnectError

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore, Mode
from processing.errors import FaultyHandlerError
from processing.handlers.results import Results
from processing.monitoring.health import Health
from processing.partitions.lag import LagReader, PartitionLag
from processing.progress.memory import MemoryProgressStore
from processing.progress.store import Mark
from tests.support.processing.events import IDENTITY, SOURCE


class Hub:
    """An event hub whose partition 1 is empty; partitions 0 and 2 have the events 5 to 9."""

    away = False

    async def get_partition_ids(self) -> list[str]:
        if self.away:
            raise ConnectError("no route")
        return ["0", "1", "2"]

    async def get_partition_properties(self, partition: str) -> dict[str, Any]:
        return {
            "is_empty": partition == "1",
            "beginning_sequence_number": 5,
            "last_enqueued_sequence_number": 9,
        }


class HealthSetup:
    """A health report's parts, with an event hub that can be made unreachable."""

    def __init__(self, breaker: CircuitBreaker) -> None:
        self.breaker = breaker
        self.hub = Hub()
        self.progress = MemoryProgressStore()
        self.old: set[str] = set()
        self.results = Results("my:handle")
        client = cast("EventHubConsumerClient", self.hub)
        self.health = Health(
            breaker, LagReader(client, self.progress, IDENTITY), self.old_version_on, self.results
        )

    async def old_version_on(self, partitions: Iterable[str]) -> list[str]:
        return [each for each in partitions if each in self.old]


@pytest.fixture
async def setup() -> AsyncIterator[HealthSetup]:
    rules = BreakerSettings()
    async with CircuitBreaker(MemoryCircuitStore(rules.name), rules) as breaker:
        yield HealthSetup(breaker)


async def test_healthy_instance_reports_watermark_and_lag(setup: HealthSetup) -> None:
    """The lag of a partition is the number of events behind its watermark."""
    await setup.progress.commit(SOURCE, 0, Mark(7, 1), [])
    report = await setup.health.report()
    assert (report.status, report.problems) == ("ok", ())
    assert report.partitions == (
        PartitionLag("0", watermark=7, last_enqueued=9, lag=2),
        PartitionLag("1", watermark=None, last_enqueued=None, lag=0),
        PartitionLag("2", watermark=None, last_enqueued=9, lag=5),
    )
    assert json.loads(json.dumps(report.to_json()))["circuit"]["state"] == "closed"


async def test_circuit_that_admits_nothing_reports_holding(setup: HealthSetup) -> None:
    """Holding comes before degraded, also while the hub is unreachable."""
    await setup.breaker.isolate("op", "test")
    setup.hub.away = True
    report = await setup.health.report()
    assert report.status == "holding"
    assert len(report.problems) == 1


async def test_circuit_that_has_just_closed_reports_ramping(setup: HealthSetup) -> None:
    """Lanes that wait for their turn are neither stalled nor on hold."""
    await setup.breaker.isolate("op", "test")
    await setup.breaker.close_circuit(1, "op")
    assert (await setup.health.report()).status == "ramping"


async def test_report_has_the_mode() -> None:
    """With observe, nobody may believe that the circuit protects anything."""
    rules = BreakerSettings(mode=Mode.OBSERVE)
    async with CircuitBreaker(MemoryCircuitStore(rules.name), rules) as breaker:
        report = await HealthSetup(breaker).health.report()
    assert json.loads(json.dumps(report.to_json()))["mode"] == "observe"


async def test_unreachable_hub_reports_degraded(setup: HealthSetup) -> None:
    """The report quotes the error of the hub's client."""
    setup.hub.away = True
    report = await setup.health.report()
    assert (report.status, report.partitions) == ("degraded", ())
    assert "no route" in report.problems[0]


async def test_faulty_handler_is_a_problem(setup: HealthSetup) -> None:
    """The report names the handler and what was probably forgotten."""
    with pytest.raises(FaultyHandlerError):
        await setup.results.settle(ValueError("returned instead of raised"))
    report = await setup.health.report()
    assert report.status == "degraded"
    assert report.problems == (
        "handler my:handle returned an exception: a raise is missing; its events are kept until it "
        "is corrected",
    )


async def test_old_version_beside_this_one_is_a_problem(setup: HealthSetup) -> None:
    """The report names the partitions and the command that takes their data over."""
    setup.old = {"0", "2"}
    report = await setup.health.report()
    assert report.status == "degraded"
    (problem,) = report.problems
    assert "version 0.1 has processed partition 0, 2" in problem
    assert "python -m processing migrate" in problem
