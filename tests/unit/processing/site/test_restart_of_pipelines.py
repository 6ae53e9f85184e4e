"""A restart stops all pipelines of the app, so the circuit of each has a say and a record."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore
from breaker.chain import Step, StepKind
from processing.site.restart import Restart, Stopping
from tests.unit.processing.site.test_restart import Rig, nothing, rig

__all__ = ["rig"]


@pytest.fixture
async def other() -> AsyncIterator[CircuitBreaker]:
    """Yield the circuit of another pipeline."""
    name = "breakwater-audit"
    async with CircuitBreaker(MemoryCircuitStore(name), BreakerSettings(name=name)) as breaker:
        yield breaker


def restart_of(rig: Rig, other: CircuitBreaker) -> Restart:
    restart = rig.restart()
    restart.others = [other]
    return restart


def stop_by(by: str, at: float) -> Step:
    return Step(StepKind.STOP, 1, accepted=True, detail="HTTP 200", at=at, by=by)


async def test_restart_is_on_record_in_each_circuit(rig: Rig, other: CircuitBreaker) -> None:
    report = await restart_of(rig, other).run(nothing)
    assert (rig.asked, report.unrecorded) == (["stop", "start"], "")
    for breaker in (rig.breaker, other):
        events = [each.event for each in await breaker.history()]
        assert events == ["start_accepted", "stop_accepted"]


async def test_stop_for_another_pipeline_during_the_act_stays(
    rig: Rig, other: CircuitBreaker
) -> None:
    """The other circuit has opened, and the workflow has stopped the app for it."""

    async def action(_stopping: Stopping) -> None:
        await other.approvals.report(stop_by("workflow", rig.time + 1))

    report = await restart_of(rig, other).run(action)
    assert rig.asked == ["stop"]
    assert report.left_stopped == "workflow asked for a stop in the meantime"


async def test_app_whose_stop_for_another_pipeline_is_under_way_stays_stopped(
    rig: Rig, other: CircuitBreaker
) -> None:
    await other.approvals.report(stop_by("workflow", rig.time - 1))
    rig.later = [lambda: setattr(rig.arm, "state", "Stopped")]
    report = await restart_of(rig, other).run(nothing)
    assert (rig.asked, report.was_stopped) == ([], True)
