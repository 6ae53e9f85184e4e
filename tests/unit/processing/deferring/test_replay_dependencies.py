"""Replays of keys that wait for a dependency: admission, probes, the ramp and the rules."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from breaker import CircuitBreaker, CircuitState, Key, Permit, StoreUnavailableError
from processing.deferring.admission import MOST_REPLAYS, OPEN_PAUSE_SECONDS, PROBE_PAUSE_SECONDS
from processing.errors import DependencyUnavailableError, LeaseLostError, PoisonEventError
from processing.event import Event
from processing.parking.deferral import DeferralReason
from processing.parking.waking import WOKEN_SECONDS, Waking
from tests.support.processing.dependency_rig import free_permits
from tests.support.processing.events import SOURCE
from tests.support.processing.replay_rig import Rig, now, open_rig, simulated
from tests.unit.processing.deferring.test_replay_outcomes import ThrottledError

DOWN = DependencyUnavailableError("down")
LONG = {"break_seconds": 300.0}


async def defer(rig: Rig, *numbers: int, key: str = "k", needs: str = "bank", **more: Any) -> None:
    """Defer a key for a dependency; its events need the dependency."""
    rig.needs |= dict.fromkeys(numbers, needs)
    await rig.defer(*numbers, key=key, dependency=needs, **more)


async def close(breaker: CircuitBreaker) -> None:
    await breaker.close_circuit(breaker.circuit.generation, "test")


@pytest.mark.parametrize("isolated", [False, True])
@simulated
async def test_open_dependency_postpones_its_key_without_an_attempt(isolated: bool) -> None:
    """Due keys of an open dependency would hide the due keys of others."""
    async with open_rig(own=LONG) as rig:
        bank = await rig.dependency()
        await defer(rig, 1)
        await rig.defer(2, key="other")
        before = await rig.deferral()
        await (bank.isolate("test") if isolated else rig.open(bank))
        await rig.replay("k", "other")
        assert rig.handled == [2]
        assert rig.started == [2]
        after = await rig.deferral()
        assert (after.attempts, after.tries) == (before.attempts, before.tries)
        assert await rig.pause() == pytest.approx(OPEN_PAUSE_SECONDS)
        assert rig.store._leases == {}


@simulated
async def test_dependency_admits_nothing_while_the_circuit_of_the_app_is_open() -> None:
    """Both circuits must admit the event."""
    async with open_rig() as rig:
        bank = await rig.dependency()
        await rig.half_open(bank)
        await rig.open()
        await defer(rig, 1)
        await rig.replay()
        assert rig.started == []
        assert await rig.pause() <= 0, "the key stays due"
        assert await free_permits(bank) == 2


@simulated
async def test_replays_close_a_half_open_dependency() -> None:
    """Lanes defer the keys that need the dependency, so replays are its only probes."""
    async with open_rig() as rig:
        bank = await rig.dependency()
        await rig.half_open(bank)
        await defer(rig, 1, 2, 3)
        await rig.replay()
        assert rig.handled == [1, 2, 3]
        assert bank.circuit.state is CircuitState.CLOSED
        assert (await bank.refresh()).probe_failures == 0
        assert rig.breaker.circuit.generation == 0


@simulated
async def test_event_without_a_block_closes_the_dependency_that_had_failed_it() -> None:
    """A handler may name the dependency in its errors only."""
    async with open_rig(rules={"half_open_permits": 1}) as rig:
        bank = await rig.dependency()
        await rig.half_open(bank)
        await defer(rig, 1, 2, needs="bank")
        rig.needs.clear()
        await rig.replay()
        assert rig.handled == [1, 2]
        assert bank.circuit.state is CircuitState.CLOSED


@simulated
async def test_both_half_open_circuits_take_their_probes() -> None:
    """One event is a probe of the app and of its dependency."""
    async with open_rig() as rig:
        bank = await rig.dependency()
        await rig.half_open(bank)
        await rig.half_open()
        await defer(rig, 1, 2)
        await rig.replay()
        assert rig.handled == [1, 2]
        assert bank.circuit.state is CircuitState.CLOSED
        assert rig.breaker.circuit.state is CircuitState.CLOSED


@simulated
async def test_replay_without_a_permit_of_its_dependency_waits_a_moment() -> None:
    """The permit of the app's circuit is returned."""
    async with open_rig() as rig:
        bank = await rig.dependency()
        await rig.half_open(bank)
        await rig.half_open()
        for number in range(2):
            await bank.try_acquire(Key(f"taken-{number}"))
        await defer(rig, 1)
        await rig.replay()
        assert rig.started == []
        assert await rig.pause() == pytest.approx(PROBE_PAUSE_SECONDS)
        assert await free_permits(rig.breaker) == 2


@pytest.mark.parametrize(
    ("error", "failed"),
    [(DOWN, 1), (LookupError("x"), 0), (PoisonEventError("bad"), 0), (ThrottledError(), 0)],
)
@simulated
async def test_failed_probe_is_recorded_if_it_means_that_the_dependency_is_down(
    error: Exception, failed: int
) -> None:
    """An ordinary error is one of the app, and the permit is returned."""
    async with open_rig() as rig:
        bank = await rig.dependency()
        rig.errors[1] = error
        await rig.half_open(bank)
        await rig.half_open()
        await defer(rig, 1)
        await rig.replay()
        own, app = await bank.refresh(), await rig.breaker.refresh()
        assert (own.probe_failures, own.probe_successes) == (failed, 0)
        assert (app.probe_failures, app.probe_successes) == (isinstance(error, LookupError), 0)
        assert await free_permits(bank) == 2
        assert await free_permits(rig.breaker) == 2


@simulated
async def test_permit_that_the_event_did_not_use_is_returned() -> None:
    """An event that was only refused before says nothing about the dependency."""
    async with open_rig() as rig:
        bank = await rig.dependency()
        await rig.half_open(bank)
        await defer(rig, 1, reason=DeferralReason.REFUSED)
        rig.needs.clear()
        await rig.replay()
        assert rig.handled == [1]
        circuit = await bank.refresh()
        assert (circuit.probe_failures, circuit.probe_successes) == (0, 0)
        assert await free_permits(bank) == 2


@simulated
async def test_unused_permit_of_one_event_serves_the_next_one() -> None:
    """A turn of many events needs one permit at a time."""
    async with open_rig() as rig:
        bank = await rig.dependency()
        await rig.half_open(bank)
        await defer(rig, *range(6), reason=DeferralReason.REFUSED)
        rig.needs.clear()
        await rig.replay()
        assert rig.handled == list(range(6))


@simulated
async def test_permit_of_the_app_is_returned_if_the_other_store_does_not_answer() -> None:
    """The key stays deferred, and others can probe the app."""
    async with open_rig() as rig:
        bank = await rig.dependency()

        async def away(_key: Key | None = None) -> Permit:
            raise StoreUnavailableError("no answer")

        await rig.half_open(bank)
        await rig.half_open()
        bank.try_acquire = away  # type: ignore[method-assign,assignment]
        await defer(rig, 1)
        await rig.replay()
        assert rig.started == []
        assert await free_permits(rig.breaker) == 2


@simulated
async def test_interrupted_probe_returns_its_permits() -> None:
    """Others can probe before the permits' leases expire."""
    async with open_rig() as rig:
        bank = await rig.dependency()

        async def lose(_each: Event) -> None:
            rig.store._leases.clear()
            await asyncio.sleep(70)

        rig.before, rig.errors[1] = lose, LookupError("x")
        await rig.half_open(bank)
        await defer(rig, 1)
        await rig.replay()
        assert rig.started == [1]
        assert await free_permits(bank) == 2
        with pytest.raises(LeaseLostError):
            await rig.store.finish(SOURCE, "k", "none", "x")


@simulated
async def test_refusal_by_another_dependency_counts_nowhere_and_moves_the_key() -> None:
    """From now on the key waits for the dependency that refused it."""
    async with open_rig() as rig:
        bank, post = await rig.dependency(), await rig.dependency("post")
        await rig.open(post)
        await rig.half_open(bank)
        await defer(rig, 1)
        rig.needs[1] = "post"
        await rig.replay()
        assert rig.started == []
        found = await rig.deferral()
        assert (found.dependency, found.reason) == ("post", DeferralReason.REFUSED)
        assert await free_permits(bank) == 2
        assert (await rig.breaker.refresh()).failures == 0


@simulated
async def test_refusal_in_a_replay_never_pauses_its_key_for_long() -> None:
    """The closing may come just before the write; a long pause would outlast it."""
    async with open_rig(own={"break_seconds": 300.0}) as rig:
        bank, post = await rig.dependency(), await rig.dependency("post")
        await rig.open(post)
        await rig.half_open(bank)
        await defer(rig, 1, tries=20, attempts=20)
        rig.needs[1] = "post"
        await rig.replay()
        assert rig.started == []
        assert await rig.pause() <= OPEN_PAUSE_SECONDS


@pytest.mark.parametrize("asks", [False, True])
@simulated
async def test_failure_of_a_call_that_began_before_the_closing_is_repeated_soon(
    asks: bool,
) -> None:
    """Its key had been woken, and the end of the call must not put the key to sleep again."""
    async with open_rig() as rig:
        bank = await rig.dependency()
        await rig.half_open(bank)
        await defer(rig, 1, tries=20, attempts=20)
        woken = Waking("bank", bank.circuit.generation, closed=True, most=1)

        async def close_and_wake(_event: Event) -> None:
            await close(bank)
            await rig.store.wake(SOURCE, woken)

        rig.before = close_and_wake
        rig.errors[1] = DependencyUnavailableError("down", retry_after=500.0 if asks else None)
        await rig.replay()
        seconds = 600 if asks else WOKEN_SECONDS
        assert await rig.pause() == pytest.approx(seconds, abs=0.1)


@simulated
async def test_waking_from_before_a_loss_of_the_circuit_shortens_no_pause() -> None:
    """A dead key would be called each second, because no waking follows while all goes well."""
    async with open_rig() as rig:
        await rig.dependency()
        await rig.store.wake(SOURCE, Waking("bank", 9, closed=True, most=1))
        await defer(rig, 1, tries=20, attempts=20)
        rig.errors[1] = DOWN
        await rig.replay()
        assert await rig.pause() == pytest.approx(600, abs=0.1)


@simulated
async def test_dead_key_among_healthy_ones_does_not_keep_a_dependency_open() -> None:
    """Keys with few attempts probe first, and the failures of one key count once."""
    async with open_rig(own={"half_open_permits": 4, "break_seconds": 5.0}) as rig:
        bank = await rig.dependency()
        rig.errors[1] = DOWN
        await defer(rig, 1, key="dead", attempts=40)
        for number in range(10, 20):
            await defer(rig, number, key=f"k{number}", attempts=2)
        await rig.open(bank)
        for _ in range(4):
            await asyncio.sleep(5)
            await rig.replayer.run_due(4)
        assert bank.circuit.state is CircuitState.CLOSED
        assert bank.circuit.generation == 1
        assert sorted(rig.handled) == list(range(10, 20))
        assert await rig.key("dead") is not None


@simulated
async def test_keys_with_few_attempts_probe_first() -> None:
    """The dead keys are many; each of them would use up a permit."""
    async with open_rig(own={"half_open_permits": 2, "break_seconds": 5.0}) as rig:
        bank = await rig.dependency()
        for number in range(10):
            rig.errors[number] = DOWN
            await defer(rig, number, key=f"a{number}", attempts=40)
        for number in (20, 21):
            await defer(rig, number, key=f"z{number}", attempts=2)
        await rig.open(bank)
        await asyncio.sleep(6)
        await rig.replayer.run_due(4)
        assert rig.started[:2] == [20, 21]
        assert rig.handled == [20, 21]
        assert (bank.circuit.state, bank.circuit.generation) == (CircuitState.CLOSED, 1)


@simulated
async def test_closing_makes_all_keys_of_the_dependency_due_at_once() -> None:
    """Nobody waits for the rest of a pause of ten minutes."""
    async with open_rig(own=LONG) as rig:
        bank = await rig.dependency()
        await rig.open(bank)
        for number in range(20):
            await defer(rig, number, key=f"k{number}")
        await rig.replayer.run_due(4)
        assert rig.started == []
        await close(bank)
        assert await rig.replayer.run_due(4) == 20


@simulated
async def test_batch_wakes_the_keys_of_its_partition() -> None:
    """The claim returns the woken keys; without a change of a circuit there is no call."""
    async with open_rig(own=LONG) as rig:
        calls, wake = [], rig.store.wake

        async def counted(*args: Any) -> int:
            calls.append(args)
            return await wake(*args)

        rig.store.wake = counted  # type: ignore[method-assign,assignment]
        bank = await rig.dependency()
        await rig.replayer.wake(SOURCE)
        await rig.open(bank)
        await defer(rig, 1)
        await rig.replayer.wake(SOURCE)
        assert calls == []
        await close(bank)
        for _ in range(3):
            await rig.replayer.wake(SOURCE)
        assert len(calls) == 1
        assert (await rig.store.claim(SOURCE)).due == ("k",)


@simulated
async def test_keys_of_a_dependency_return_under_its_ramp() -> None:
    """The dependency has only just recovered; keys without a dependency are not in its ramp."""
    async with open_rig(own=LONG | {"ramp_seconds": 16.0}) as rig:
        bank = await rig.dependency()
        running: set[str] = set()
        ending = asyncio.Event()

        async def wait(each: Event) -> None:
            running.add(str(each.key))
            await ending.wait()

        rig.before = wait
        await rig.open(bank)
        keys = [f"k{number}" for number in range(MOST_REPLAYS - 1)]
        for number, key in enumerate(keys):
            await defer(rig, number, key=key)
        await rig.defer(100, key="other")
        await close(bank)
        seen = []
        with rig.replayer.invocation():
            for _ in range(4):
                rig.replayer.start(SOURCE, [*keys, "other"])
                await asyncio.sleep(0.01)
                seen.append((len(running - {"other"}), "other" in running))
                await asyncio.sleep(5)
            rig.replayer.start(SOURCE, keys)
            await asyncio.sleep(0.01)
            assert seen == [(1, True), (5, True), (10, True), (15, True)]
            ending.set()
            await rig.replayer.wait_idle()
        assert len(rig.handled) == MOST_REPLAYS


@simulated
async def test_rounds_are_those_in_which_the_dependency_served_others() -> None:
    """Successes of events that need something else say nothing about this dependency."""
    async with open_rig(defer_rounds_max=3) as rig:
        bank = await rig.dependency()
        await rig.succeed(bank)  # until then the last success is unknown
        await asyncio.sleep(1)
        rig.errors[1] = DOWN
        await defer(rig, 1)
        for _ in range(5):
            await rig.succeed()
            await rig.replay()
        assert (await rig.deferral()).rounds == 0
        for _ in range(3):
            await asyncio.sleep(1)
            await rig.succeed(bank)
            await rig.replay()
        assert rig.poisoned == [1]


@simulated
async def test_time_in_which_the_dependency_is_open_does_not_count() -> None:
    """`keep_max_seconds` counts the time in which the event could have succeeded."""
    async with open_rig(own=LONG, keep_max_seconds=100) as rig:
        bank = await rig.dependency()
        rig.errors[1] = DOWN
        await defer(rig, 1)
        await rig.open(bank)
        await asyncio.sleep(500)
        await close(bank)
        await asyncio.sleep(10)
        await rig.replay()
        assert rig.started == [1]
        assert (await rig.deferral()).admitted_seconds == pytest.approx(10, abs=1)
        await asyncio.sleep(95)
        await rig.replay()
        assert rig.poisoned == [1]


@simulated
async def test_deferred_key_is_reported_to_the_circuit_of_its_dependency() -> None:
    """An outage of the dependency in which all its keys are deferred opens its circuit."""
    async with open_rig() as rig:
        bank = await rig.dependency()
        await rig.succeed(bank)  # until then the last success is unknown
        await asyncio.sleep(1)
        keys = rig.replayer._keys
        keys.note_deferred(SOURCE, "k", now(), "bank")
        assert set(bank._notes._running) == {Key("k")}
        assert set(rig.breaker._notes._running) == {Key("k")}
        await asyncio.sleep(1)
        await rig.succeed()
        await asyncio.sleep(1.1)
        assert set(bank._notes._running) == {Key("k")}
        assert set(rig.breaker._notes._running) == set()
        await asyncio.sleep(1)
        await rig.succeed(bank)
        await asyncio.sleep(1.1)
        assert set(bank._notes._running) == set()


@simulated
async def test_key_of_an_open_dependency_is_not_reported_to_the_circuit_of_the_app() -> None:
    """Its attempts do not count there."""
    async with open_rig(own=LONG) as rig:
        bank = await rig.dependency()
        rig.replayer.note_deferred(SOURCE, "k", now() + 1000, "bank")
        await rig.open(bank)
        await asyncio.sleep(1.1)
        assert set(rig.breaker._notes._running) == set()
        rig.replayer.forget(SOURCE)
        assert set(bank._notes._running) == set()


@simulated
async def test_failed_attempts_count_for_the_dependency_and_while_closed_for_the_app() -> None:
    """Only while nothing has succeeded there since the key was deferred."""
    async with open_rig() as rig:
        bank = await rig.dependency()
        await rig.succeed(bank)  # until then the last success is unknown
        await asyncio.sleep(1)
        rig.errors[1] = DOWN
        await defer(rig, 1)
        await rig.replay()
        assert (bank._notes._attempts, rig.breaker._notes._attempts) == (1, 1)
        await asyncio.sleep(5)
        await rig.succeed()
        await asyncio.sleep(60)
        await rig.replay()
        assert (bank._notes._attempts, rig.breaker._notes._attempts) == (1, 0)


@simulated
async def test_replay_whose_attempts_do_not_count_is_not_reported_as_running() -> None:
    """A bad key that runs all the time would look like a second key in an outage of one key."""
    async with open_rig() as rig:
        bank = await rig.dependency()
        running: list[set[Key]] = []

        async def look(_each: Event) -> None:
            running.append(set(bank._notes._running))

        rig.before = look
        await defer(rig, 1)
        await rig.replay()
        await defer(rig, 2)
        await asyncio.sleep(1)
        await rig.succeed(bank)
        await rig.replay()
        assert running == [{Key("k")}, set()]


@simulated
async def test_outage_in_which_all_keys_of_a_dependency_are_deferred_opens_its_circuit() -> None:
    """The app's circuit stays closed while other keys succeed."""
    async with open_rig(rules={"failure_threshold": 100, "window_seconds": 30}) as rig:
        bank = await rig.dependency()
        await rig.succeed(bank)
        await asyncio.sleep(1)
        for number, key in enumerate("ab"):
            rig.errors[number] = DOWN
            await defer(rig, number, key=key)
            rig.replayer.note_deferred(SOURCE, key, now(), "bank")
        for _ in range(60):
            await rig.succeed()
            await asyncio.sleep(5)
            await rig.replayer.run_due(4)
            if bank.circuit.generation:
                break
        assert bank.circuit.generation == 1
        assert rig.breaker.circuit.generation == 0


@simulated
async def test_key_of_a_name_without_a_circuit_is_admitted_by_the_app_alone() -> None:
    """Its failures count for the app's circuit."""
    async with open_rig(rules={"max_dependencies": 1}) as rig:
        await rig.dependency()
        rig.errors[2] = DependencyUnavailableError("down", dependency="post")
        await defer(rig, 1, 2, needs="post")
        await rig.replay()
        assert (rig.handled, rig.started) == ([1], [1, 2])
        assert (await rig.deferral()).dependency == ""


@simulated
async def test_first_replay_of_an_instance_waits_for_the_state_of_the_dependency() -> None:
    """The instance has just started, and another one has opened the circuit."""
    async with open_rig(own=LONG) as rig:
        bank = await rig.dependency()
        await rig.open(bank)
        await defer(rig, 1)
        rig.dependencies._circuits.clear()
        await rig.replay()
        assert rig.started == []
        assert await rig.pause() == pytest.approx(OPEN_PAUSE_SECONDS)
