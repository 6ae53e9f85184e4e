"""Replays and the app's circuit: admission, probes, the ramp and the standstill rule."""

from __future__ import annotations

import asyncio

import pytest

from breaker import CircuitState, Key, Permit
from processing.deferring.admission import MOST_REPLAYS
from processing.errors import DependencyUnavailableError, LeaseLostError, PoisonEventError
from processing.event import Event
from tests.support.processing.events import SOURCE
from tests.support.processing.replay_rig import Rig, open_rig, simulated
from tests.unit.processing.deferring.test_replay_outcomes import ThrottledError

DOWN = DependencyUnavailableError("down")
MINE = Key("k").token


async def free_permits(rig: Rig) -> int:
    """Return the number of probe permits that are free, and acquire them."""
    free = 0
    while True:
        try:
            await rig.breaker.try_acquire(Key(f"free-{free}"))
        except Exception:
            return free
        free += 1


@pytest.mark.parametrize("isolated", [False, True])
@simulated
async def test_open_circuit_ends_a_replay_without_an_attempt(isolated: bool) -> None:
    """The key stays due, and is not postponed."""
    async with open_rig() as rig:
        await rig.defer(1)
        before = await rig.key()
        await (rig.breaker.isolate("test") if isolated else rig.open())
        await rig.replay()
        await asyncio.sleep(5)
        assert rig.started == []
        assert await rig.key() == before
        assert rig.store._leases == {}


@simulated
async def test_opening_stops_a_replay_before_its_next_event() -> None:
    """Stop means stop."""
    async with open_rig() as rig:

        async def trip(each: Event) -> None:
            if each.sequence_number == 2:
                await rig.open()

        rig.before = trip
        await rig.defer(1, 2, 3)
        await rig.replay()
        assert rig.handled == [1, 2]
        assert [number for _, number in await rig.waiting()] == [3]


@simulated
async def test_event_without_its_body_is_not_poisoned_while_the_circuit_is_open() -> None:
    """No outcome is written while the circuit holds all events."""
    async with open_rig() as rig:

        async def trip(_each: Event) -> None:
            await rig.open()

        rig.before = trip
        await rig.defer(1, 2, bodies={2: b"large"})
        rig.claims.blobs.clear()
        await rig.replay()
        assert rig.poisoned == []
        assert [number for _, number in await rig.waiting()] == [2]


@simulated
async def test_permit_that_comes_during_a_stop_is_returned() -> None:
    """No event starts, and another instance can probe."""
    async with open_rig() as rig:
        acquire = rig.breaker.try_acquire

        async def slow(key: Key | None = None) -> Permit:
            permit = await acquire(key)
            rig.replayer.stop()
            return permit

        await rig.defer(1)
        await rig.half_open()
        rig.breaker.try_acquire = slow  # type: ignore[method-assign]
        await rig.replay()
        rig.breaker.try_acquire = acquire  # type: ignore[method-assign]
        assert rig.started == []
        assert await free_permits(rig) == 2


@simulated
async def test_replay_can_close_a_half_open_circuit() -> None:
    """In an outage in which all keys are deferred, nothing else can probe."""
    async with open_rig() as rig:
        await rig.defer(1, 2)
        await rig.half_open()
        await rig.replay()
        assert rig.handled == [1, 2]
        assert rig.breaker.circuit.state is CircuitState.CLOSED


@simulated
async def test_replay_without_a_permit_makes_no_attempt() -> None:
    """The permits limit the probes of the whole fleet."""
    async with open_rig() as rig:
        await rig.defer(1)
        before = await rig.key()
        await rig.half_open()
        assert await free_permits(rig) == 2
        await rig.replay()
        assert rig.started == []
        assert await rig.key() == before


@pytest.mark.parametrize(
    ("error", "failed"),
    [(DOWN, 1), (LookupError("x"), 1), (PoisonEventError("bad"), 0), (ThrottledError(), 0)],
)
@simulated
async def test_failed_probe_is_recorded_unless_it_says_nothing(
    error: Exception, failed: int
) -> None:
    """Poison and throttling return the permit, and count neither way."""
    async with open_rig() as rig:
        rig.errors[1] = error
        await rig.defer(1)
        await rig.half_open()
        await rig.replay()
        circuit = await rig.breaker.refresh()
        assert (circuit.probe_failures, circuit.probe_successes) == (failed, 0)
        assert await free_permits(rig) == 2


@simulated
async def test_interrupted_probe_returns_its_permit() -> None:
    """Others can probe before the permit's lease expires."""
    async with open_rig() as rig:

        async def lose(_each: Event) -> None:
            rig.store._leases.clear()
            await asyncio.sleep(70)

        rig.before = lose
        rig.errors[1] = LookupError("x")
        await rig.defer(1)
        await rig.half_open()
        await rig.replay()
        assert rig.started == [1]
        assert await free_permits(rig) == 2
        with pytest.raises(LeaseLostError):
            await rig.store.finish(SOURCE, "k", "none", "x")


@pytest.mark.parametrize("error", [DOWN, LookupError("x"), PoisonEventError("bad")])
@simulated
async def test_failed_replay_does_not_count_as_a_failure(error: Exception) -> None:
    """So ten bad keys among healthy ones never open the circuit."""
    async with open_rig(rules={"failure_threshold": 1}) as rig:
        rig.errors[1] = error
        await rig.defer(1)
        await rig.replay()
        circuit = await rig.breaker.refresh()
        assert (circuit.state, circuit.failures) == (CircuitState.CLOSED, 0)


@simulated
async def test_ramp_limits_the_replays_of_an_instance() -> None:
    """The dependency has only just recovered."""
    async with open_rig(rules={"ramp_seconds": 16}) as rig:
        running: set[str | None] = set()
        ending = asyncio.Event()

        async def wait(each: Event) -> None:
            running.add(each.key)
            await ending.wait()

        rig.before = wait
        keys = [f"k{number}" for number in range(MOST_REPLAYS + 4)]
        for number, key in enumerate(keys):
            await rig.defer(number, key=key)
        await rig.open()
        await rig.breaker.close_circuit(rig.breaker.circuit.generation, "test")
        with rig.replayer.invocation():
            seen = []
            for _ in range(4):
                rig.replayer.start(SOURCE, keys)
                await asyncio.sleep(0.01)
                seen.append(len(running))
                await asyncio.sleep(5)
            rig.replayer.start(SOURCE, keys)
            await asyncio.sleep(0.01)
            assert seen == [0, 5, 10, 15]
            assert len(running) == MOST_REPLAYS
            ending.set()
            await rig.replayer.wait_idle()
        assert sorted(rig.handled) == list(range(len(keys)))


@simulated
async def test_replay_outside_the_ramps_share_starts_no_further_event() -> None:
    """Its next event is due at once, for the next claim or the timer."""
    async with open_rig(rules={"ramp_seconds": 16}) as rig:

        async def reopen(each: Event) -> None:
            if each.sequence_number == 1:
                await rig.open()
                await rig.breaker.close_circuit(rig.breaker.circuit.generation, "test")

        rig.before = reopen
        await rig.defer(1, 2)
        await rig.replay()
        assert rig.handled == [1]


@simulated
async def test_first_replay_continues_in_a_ramp_that_admits_one() -> None:
    """The others end, and their keys stay due."""
    async with open_rig(rules={"ramp_seconds": 16}) as rig:

        async def reopen(each: Event) -> None:
            await asyncio.sleep(0.5)
            if each.sequence_number == 1:
                await rig.open()
                await rig.breaker.close_circuit(rig.breaker.circuit.generation, "test")
            await asyncio.sleep(1.5)

        rig.before = reopen
        await rig.defer(1, 2, key="a")
        await rig.defer(11, 12, key="b")
        await rig.replay("a", "b")
        assert sorted(rig.handled) == [1, 2, 11]


@simulated
async def test_time_of_a_half_open_circuit_does_not_count() -> None:
    """Only few probes could have succeeded."""
    async with open_rig() as rig:
        rig.errors[1] = DOWN
        await rig.defer(1)
        await rig.half_open()
        await asyncio.sleep(50)
        await rig.replay()
        assert rig.started == [1]
        assert (await rig.deferral()).admitted_seconds == 0


@simulated
async def test_failed_attempts_count_while_nothing_has_succeeded() -> None:
    """An outage in which all keys are deferred opens the circuit, too."""
    async with open_rig() as rig:
        await rig.succeed()
        await rig.breaker.refresh()
        await asyncio.sleep(5)
        rig.errors[1] = DOWN
        await rig.defer(1)
        await rig.replay()
        await rig.breaker.refresh()
        assert rig.circuit.reports[-1].failed_attempts == 1
        assert rig.circuit.reports[-1].keys == (MINE,)


@simulated
async def test_key_that_is_reported_as_running_makes_all_retries() -> None:
    """The standstill rule needs ten attempts soon, also if one key is all that is in flight."""
    async with open_rig() as rig:
        rig.errors[1] = DOWN
        await rig.defer(1)
        rig.replayer.note_deferred(SOURCE, "k", (await rig.deferral()).since)
        await rig.replay()
        assert rig.started == [1, 1, 1]
        await asyncio.sleep(5)
        await rig.succeed()
        await rig.breaker.refresh()
        await rig.replay()
        assert rig.started == [1, 1, 1, 1]


@simulated
async def test_failed_attempts_do_not_count_once_another_key_has_succeeded() -> None:
    """A bad key must not open the circuit of all others."""
    async with open_rig() as rig:
        rig.errors[1] = DOWN
        await rig.defer(1)
        await asyncio.sleep(5)
        await rig.succeed()
        reports = len(rig.circuit.reports)
        await rig.replay()
        await asyncio.sleep(5)
        await rig.breaker.refresh()
        assert all(report.failed_attempts == 0 for report in rig.circuit.reports[reports:])


@pytest.mark.parametrize("error", [PoisonEventError("bad"), ThrottledError()])
@simulated
async def test_poison_and_throttling_are_no_failed_attempts(error: Exception) -> None:
    """They say nothing about an outage."""
    async with open_rig() as rig:
        rig.errors[1] = error
        await rig.defer(1)
        await rig.replay()
        await asyncio.sleep(5)
        assert all(report.failed_attempts == 0 for report in rig.circuit.reports)


@pytest.mark.parametrize("served", [False, True])
@simulated
async def test_replay_reports_its_key_as_running_while_its_attempts_count(served: bool) -> None:
    """A bad key that runs all the time would look like a second key in an outage of one key."""
    async with open_rig() as rig:
        rig.before = lambda _each: asyncio.sleep(20)
        await rig.defer(1)
        await asyncio.sleep(2)
        if served:
            await rig.succeed()
        with rig.replayer.invocation():
            rig.replayer.start(SOURCE, ["k"])
            await asyncio.sleep(5)
            reports = len(rig.circuit.reports)
            await asyncio.sleep(5)
            running = {report.running for report in rig.circuit.reports[reports:]}
            await rig.replayer.wait_idle()
        assert running == (set() if served else {(MINE,)})
        reports = len(rig.circuit.reports)
        await asyncio.sleep(5)
        assert {each.running for each in rig.circuit.reports[reports + 1 :]} <= {()}


@simulated
async def test_success_of_a_replay_reaches_the_circuit() -> None:
    """Otherwise the standstill rule would open the circuit of an app that only replays."""
    async with open_rig() as rig:
        await rig.defer(1)
        await asyncio.sleep(100)
        await rig.replay()
        await asyncio.sleep(5)
        last = (await rig.breaker.refresh()).last_success_at
        assert last is not None
        assert last > (rig.breaker.circuit.as_of or 0) - 10
