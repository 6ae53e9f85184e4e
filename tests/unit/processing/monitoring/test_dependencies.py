"""Dependencies in health and survey: their states, and the holds of their circuits."""

from __future__ import annotations

import json
from dataclasses import replace

from breaker import BreakerSettings, Circuit, CircuitBreaker, CircuitState, MemoryCircuitStore
from processing.identity import Source
from processing.monitoring.dependency_states import COUNT_SECONDS, DependencyState, WaitingKeys
from processing.monitoring.partition_state import State
from processing.monitoring.reasons import Why
from processing.partitions.lag import PartitionLag
from processing.progress.store import Mark
from tests.support.processing.events import IDENTITY, SOURCE, event
from tests.support.processing.watch_rig import WatchRig
from tests.unit.processing.monitoring.test_watching import breaker, defer, rig

__all__ = ["breaker", "rig"]


class Bank(CircuitBreaker):
    """The circuit of a dependency whose state the test sets."""

    def __init__(self, rig: WatchRig) -> None:
        super().__init__(MemoryCircuitStore("breakwater/bank"), BreakerSettings())
        self._rig = rig
        self.set(CircuitState.CLOSED)

    def set(self, state: CircuitState, generation: int = 0, success: float | None = None) -> None:
        """Set the state, which has changed now, and the time of the last success."""
        now = self._rig.clock.monotonic()
        self.circuit = Circuit(
            "breakwater/bank",
            state,
            generation,
            changed_at=now,
            reason="test",
            as_of=now,
            last_success_at=success,
        )


async def settle(rig: WatchRig) -> None:
    """Finish all events of the hub."""
    for partition in ("0", "2"):
        await rig.progress.commit(Source(IDENTITY, partition), 0, Mark(9, 1), [])


async def test_health_lists_the_dependencies_with_their_waiting_keys(rig: WatchRig) -> None:
    """An operator sees what is down, since when, and how much waits for it."""
    bank, post = Bank(rig), Bank(rig)
    rig.dependencies = {"post": post, "bank": bank}
    await settle(rig)
    await defer(rig, "a", 6)
    await defer(rig, "b", 7)
    rig.clock.advance(5)
    bank.set(CircuitState.OPEN, 3)
    report = await rig.after(5)
    since = rig.clock.monotonic() - 5
    assert report.dependencies == (
        DependencyState("bank", CircuitState.OPEN, 3, since, "test", 2),
        DependencyState("post", CircuitState.CLOSED, 0, since - 5, "test", 0),
    )
    assert (report.status, report.is_healthy) == ("holding", True)
    found = json.loads(json.dumps(report.to_json()))["dependencies"][0]
    assert (found["name"], found["state"], found["keys"]) == ("bank", "open", 2)
    assert found["since"] == since


async def test_health_lists_the_dependencies_while_redis_is_away(rig: WatchRig) -> None:
    """The instance knows the states of the circuits."""
    rig.dependencies = {"bank": Bank(rig)}
    rig.fleet.away = True
    report = await rig.health.report()
    assert [each.name for each in report.dependencies] == ["bank"]
    assert report.status == "degraded"


async def test_stall_is_worse_than_an_open_dependency(rig: WatchRig) -> None:
    """The open circuit has an alarm of its own."""
    bank = Bank(rig)
    rig.dependencies = {"bank": bank}
    bank.set(CircuitState.OPEN, 1)
    rig.watch.began(SOURCE, event(5))
    rig.watch.waits(SOURCE, event(5), Why.STORAGE, TimeoutError("queue"))
    await rig.progress.commit(Source(IDENTITY, "2"), 0, Mark(9, 1), [])
    assert (await rig.after(60)).status == "stalled"


async def test_key_that_an_open_dependency_holds_is_not_stalled(rig: WatchRig) -> None:
    """Once the dependency serves others again, the key is reported after ten minutes."""
    bank = Bank(rig)
    rig.dependencies = {"bank": bank}
    await settle(rig)
    await defer(rig, "bad", 6)
    rig.last_success = rig.clock.monotonic() + 3600  # of the app, whose other events succeed
    bank.set(CircuitState.OPEN, 1, success=rig.clock.monotonic() + 1)
    for state in (CircuitState.OPEN, CircuitState.HALF_OPEN, CircuitState.ISOLATED):
        bank.set(state, 1, success=rig.clock.monotonic() + 1)
        report = await rig.after(605)
        assert (report.status, report.states) == ("holding", ())
    bank.set(CircuitState.CLOSED, 1, success=rig.clock.monotonic())
    report = await rig.after(5)
    assert report.status == "stalled"
    (found,) = report.states
    assert (found.state, found.why, found.deferred) == (State.STALLED, Why.DEFERRED, True)


async def test_success_of_the_app_does_not_make_a_key_of_a_dependency_stalled(
    rig: WatchRig,
) -> None:
    """Nothing shows that the dependency serves anybody."""
    bank = Bank(rig)
    rig.dependencies = {"bank": bank}
    await settle(rig)
    await defer(rig, "bad", 6)
    rig.last_success = rig.clock.monotonic() + 3600
    assert (await rig.after(605)).states == ()
    bank.set(CircuitState.CLOSED, success=rig.clock.monotonic())
    assert [each.why for each in (await rig.after(5)).states] == [Why.DEFERRED]


async def test_time_in_which_a_dependency_holds_a_partition_is_no_stall(rig: WatchRig) -> None:
    """Neither while the circuit is open, nor at once when an instance has just taken over."""
    await rig.progress.commit(Source(IDENTITY, "2"), 0, Mark(9, 1), [])
    rig.watch.began(SOURCE, event(5))
    rig.watch.waits(SOURCE, event(5), Why.DEPENDENCY, "bank: the circuit is open")
    report = await rig.after(3600)
    assert report.status == "holding"
    (state,) = report.states
    assert (state.state, state.why) == (State.HOLDING, Why.DEPENDENCY)
    assert "closes by itself" in state.todo
    rig.watch.lost(SOURCE)
    rig.watch.began(SOURCE, event(5))
    assert (await rig.after(30)).states == ()


async def test_keys_are_counted_again_after_a_while(rig: WatchRig) -> None:
    """Health is asked often, and a count reads all deferred keys."""
    counting = WaitingKeys(rig.parking, IDENTITY, rig.clock.monotonic)
    lag = PartitionLag("0", 9, 9, 2, parked=2, deferred=1)
    await defer(rig, "a", 6)
    assert await counting.count([lag]) == {"bank": 1}
    await defer(rig, "b", 7)
    assert await counting.count([replace(lag, deferred=2)]) == {"bank": 1}
    rig.clock.advance(COUNT_SECONDS)
    assert await counting.count([replace(lag, deferred=2)]) == {"bank": 2}
    assert await counting.count([replace(lag, deferred=0)]) == {}
