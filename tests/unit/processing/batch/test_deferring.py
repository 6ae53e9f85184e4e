"""BatchProcessor and failing keys: waiting in place, deferring, and the events behind."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from breaker import (
    BreakerSettings,
    CircuitBreaker,
    CircuitOpenError,
    CircuitState,
    MemoryCircuitStore,
    Permit,
)
from processing.errors import (
    DependencyUnavailableError,
    OwnershipLostError,
    PoisonEventError,
)
from processing.event import Event
from processing.handlers.failures.kind import Failure, FailureKind
from processing.parking.deferral import DeferralReason
from processing.parking.event import Lone, position_of
from processing.parking.store import ParkedKey, WritingAs
from processing.poison.message import PoisonMessage
from tests.support.jumping_loop import run_with_all_clocks
from tests.support.processing.events import SOURCE, batch, event
from tests.support.processing.processor_rig import Rig, keyed, open_rig

DEFERS: dict[str, Any] = {
    "deferred_events_max": 10_000,
    "max_attempts": 4,
    "hold_seconds": 60.0,
    "dependency_pause_seconds": 1.0,
}


class Downstream:
    """A handler whose calls fail for the keys in `down`, and which counts the attempts."""

    def __init__(self, *down: str | None) -> None:
        self.down = set(down)
        self.error: BaseException = DependencyUnavailableError("the bank is down")
        self.attempts: dict[int, int] = defaultdict(int)
        self.call_seconds: dict[str | None, float] = {}

    async def __call__(self, each: Event) -> None:
        self.attempts[each.sequence_number] += 1
        await asyncio.sleep(self.call_seconds.get(each.key, 0.001))
        if each.key in self.down:
            raise self.error


@asynccontextmanager
async def open_deferring(behaviour: Downstream, **settings: Any) -> AsyncIterator[Rig]:
    rules = {"standstill_failures": 0, "failure_threshold": 1000}
    async with open_rig(behaviour, settings=DEFERS | settings, breaker_settings=rules) as rig:
        now = asyncio.get_running_loop().time
        rig.store._clock = lambda: 1_800_000_000 + now()
        yield rig


async def lists(rig: Rig) -> dict[object, ParkedKey]:
    return {each.key: each for each in await rig.store.keys()}


def simulated(test: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await test()

    run_with_all_clocks(run())


def test_event_that_alone_keeps_its_batch_from_ending_is_deferred() -> None:
    """The batch ends after the present attempt; the key waits in its list, and others continue."""

    async def test() -> None:
        down = Downstream("a")
        async with open_deferring(down, max_attempts=1) as rig:
            result = await rig.processor.process(batch(keyed("b", "a", "b", "a", "a")))
            assert (result.handled, result.deferred, result.parked) == (2, 1, 2)
            assert (rig.handled, down.attempts) == ([0, 2], {0: 1, 1: 1, 2: 1})
            found = (await lists(rig))["a"]
            assert found.entries == 3
            assert found.deferral is not None
            assert found.deferral.reason is DeferralReason.DEPENDENCY
            assert found.deferral.attempts == 1
            assert found.deferral.error.endswith("the bank is down")
            mark = (await rig.progress.load(SOURCE)).watermark
            assert mark is not None
            assert mark.sequence_number == 4
            assert (await rig.breaker.refresh()).failures == 1

    simulated(test)


@pytest.mark.parametrize(("seconds", "attempts"), [(0.0, 1), (10.0, 12)])
def test_partition_waits_in_place_while_its_budget_lasts(seconds: float, attempts: int) -> None:
    """Two failing keys share the budget of wall-clock time; then both are deferred."""

    async def test() -> None:
        down = Downstream("a", "c")
        settings = {"defer_after_seconds": seconds, "max_attempts": 1}
        async with open_deferring(down, **settings) as rig:
            loop = asyncio.get_running_loop()
            began = loop.time()
            result = await rig.processor.process(batch(keyed("a", "b", "c")))
            assert (result.handled, result.deferred) == (1, 2)
            assert seconds <= loop.time() - began + 1.1 <= seconds + 2.2
            assert attempts - 3 <= down.attempts[0] <= attempts
            again = await rig.processor.process(batch([event(3, "b"), event(4, "d")]))
            assert again.handled == 2

    simulated(test)


def test_next_minute_has_a_new_budget() -> None:
    """A used-up budget defers the next failing event after one attempt, for the same minute."""

    async def test() -> None:
        down = Downstream("a", "c", "d", "e")
        settings = {"defer_after_seconds": 5.0, "max_attempts": 1}
        async with open_deferring(down, **settings) as rig:
            await rig.processor.process(batch(keyed("a", "c")))
            assert down.attempts[0] > 3
            down.down = {"d", "e"}
            await rig.processor.process(batch([event(2, "d"), event(3, "e")]))
            assert (down.attempts[2], down.attempts[3]) == (1, 1)
            await asyncio.sleep(61)
            down.down = {"f", "g"}
            await rig.processor.process(batch([event(4, "f"), event(5, "g")]))
            assert down.attempts[4] > 3

    simulated(test)


def test_call_that_hangs_longer_than_the_budget_is_made_once() -> None:
    """The budget counts from the first attempt, and the key is deferred after that attempt."""

    async def test() -> None:
        down = Downstream("a")
        down.call_seconds = {"a": 30.0, "b": 40.0}
        async with open_deferring(down) as rig:
            result = await rig.processor.process(batch(keyed("a", "b")))
            assert (result.handled, result.deferred) == (1, 1)
            assert down.attempts == {0: 1, 1: 1}

    simulated(test)


def test_ordinary_error_is_never_deferred() -> None:
    """An event whose retries are exhausted goes to the poison queue, also without any budget."""

    async def test() -> None:
        down = Downstream("a")
        down.error = ValueError("no")
        async with open_deferring(down, defer_after_seconds=0) as rig:
            result = await rig.processor.process(batch(keyed("a", "a")))
            assert (result.poisoned, result.deferred, down.attempts[0]) == (2, 0, 4)
            assert await lists(rig) == {}

    simulated(test)


def test_throttled_event_is_deferred_for_as_long_as_the_error_asks() -> None:
    """A pause that outlasts the budget does not begin in place; throttling counts for no rule."""

    async def test() -> None:
        down = Downstream("a")
        down.error = DependencyUnavailableError("slow down", retry_after=900)
        down.call_seconds = {"b": 5}
        async with open_deferring(down) as rig:
            result = await rig.processor.process(batch(keyed("a", "b")))
            assert result.deferred == 1
            found = (await lists(rig))["a"]
            assert found.deferral is not None
            assert found.due is not None
            assert 890 < found.due - found.deferral.since <= 901

    simulated(test)


def test_refused_event_is_deferred_at_once_and_counted_nowhere() -> None:
    """An open circuit of a dependency refuses the call: no retry, no waiting, no failure."""

    async def test() -> None:
        down = Downstream("a")
        async with CircuitBreaker(MemoryCircuitStore("bank"), BreakerSettings(name="bank")) as bank:
            down.error = CircuitOpenError(replace(bank.circuit, state=CircuitState.OPEN))
        down.call_seconds = {"b": 5}
        async with open_deferring(down) as rig:
            result = await rig.processor.process(batch(keyed("a", "b", "a")))
            assert (result.deferred, result.parked, down.attempts[0]) == (1, 1, 1)
            assert (await rig.breaker.refresh()).failures == 0
            found = (await lists(rig))["a"].deferral
            assert found is not None
            assert found.reason is DeferralReason.REFUSED

    simulated(test)


def test_partition_holds_when_almost_all_traffic_is_refused() -> None:
    """Above four fifths of a minute's events, refused events wait in place."""

    async def test() -> None:
        keys = [f"k{n}" for n in range(30)]
        down = Downstream(*keys)
        async with CircuitBreaker(MemoryCircuitStore("bank"), BreakerSettings(name="bank")) as bank:
            down.error = CircuitOpenError(replace(bank.circuit, state=CircuitState.OPEN))
        async with open_deferring(down) as rig:
            running = asyncio.create_task(rig.processor.process(batch(keyed(*keys))))
            await asyncio.sleep(20)
            assert not running.done()
            assert len(await lists(rig)) == 24
            down.down.clear()
            result = await running
            assert (result.handled, result.deferred) == (6, 24)

    simulated(test)


def test_full_budget_of_deferred_events_holds_the_partition() -> None:
    """The event waits in place until there is room, and nothing is dropped."""

    async def test() -> None:
        down = Downstream("a")
        async with open_deferring(down, max_attempts=1) as rig:
            rig.store._limits = (100, 0, 2**20)
            running = asyncio.create_task(rig.processor.process(batch(keyed("a"))))
            await asyncio.sleep(5)
            assert not running.done()
            assert await lists(rig) == {}
            rig.store._limits = (100, 10, 2**20)
            assert (await running).deferred == 1

    simulated(test)


def test_key_of_a_failed_probe_is_deferred() -> None:
    """Otherwise one dead key at the head of a partition would hold each recovery."""

    async def test() -> None:
        down = Downstream("a")
        down.call_seconds = {"b": 5}
        async with open_deferring(down, defer_after_seconds=60) as rig:
            circuit = await rig.breaker.isolate("op", "test")
            await rig.breaker.close_circuit(circuit.generation, "op")
            for number in range(1000):
                await rig.breaker.record_failure(f"f{number}", "E: x", _permit(rig))
            opened = await rig.breaker.refresh()
            assert opened.state is CircuitState.OPEN
            running = asyncio.create_task(rig.processor.process(batch(keyed("a", "b", "c"))))
            await asyncio.sleep(1)
            await rig.breaker.approve(opened.generation, "op")
            result = await running
            assert (result.handled, result.deferred) == (2, 1)
            assert (await rig.breaker.refresh()).state is CircuitState.CLOSED

    simulated(test)


def test_nothing_is_deferred_while_the_circuit_is_open() -> None:
    """An open circuit holds the checkpoint; the failing event waits at the gate."""

    async def test() -> None:
        down = Downstream("a")
        async with open_deferring(down, max_attempts=1, hold_seconds=5.0) as rig:

            async def isolate(each: Event) -> None:
                await rig.breaker.isolate("op", "test")
                await Downstream.__call__(down, each)

            rig.processor.parts = replace(rig.processor.parts, handle=isolate)
            with pytest.raises(CircuitOpenError):
                await rig.processor.process(batch(keyed("a")))
            assert await lists(rig) == {}

    simulated(test)


def test_keyless_events_hold_their_partition() -> None:
    """They keep their order by default, so none of them may step aside."""

    async def test() -> None:
        down = Downstream(None)
        async with open_deferring(down, max_attempts=1, hold_seconds=20.0) as rig:
            with pytest.raises(DependencyUnavailableError, match="was kept for 20 s"):
                await rig.processor.process(batch(keyed(None, "a", None)))
            assert (rig.handled, await lists(rig)) == ([1], {})

    simulated(test)


def test_operator_poisons_the_event_that_holds_its_partition() -> None:
    """The chosen event goes to the poison queue with the operator's reason; the next one runs."""

    async def test() -> None:
        down = Downstream(None)
        async with open_deferring(down, max_attempts=1, hold_seconds=2.0) as rig:
            events = keyed(None, None)
            with pytest.raises(DependencyUnavailableError):
                await rig.processor.process(batch(events))
            await rig.store.poison_head(SOURCE, events[0].id)

            async def first_only(each: Event) -> None:
                down.attempts[each.sequence_number] += 1
                if each.sequence_number == 0:
                    raise DependencyUnavailableError("down")

            rig.processor.parts = replace(rig.processor.parts, handle=first_only)
            result = await rig.processor.process(batch(events))
            assert (result.poisoned, result.handled, rig.poisoned) == (1, 1, [0])
            assert "poison-head" in rig.poison.messages[0].error.message

    simulated(test)


def test_keyless_event_without_order_is_deferred_alone() -> None:
    """Other events without a key neither wait for it nor join its list."""

    async def test() -> None:
        down = Downstream()
        async with open_deferring(down, max_attempts=1, keyless_order="none") as rig:

            async def one(each: Event) -> None:
                if each.sequence_number == 1:
                    raise DependencyUnavailableError("down")

            rig.processor.parts = replace(rig.processor.parts, handle=one)
            events = keyed(None, None, None)
            result = await rig.processor.process(batch(events))
            assert (result.handled, result.deferred) == (2, 1)
            assert list(await lists(rig)) == [Lone(position_of(events[1]))]

    simulated(test)


def test_later_batches_append_to_a_deferred_key() -> None:
    """No later event of the key starts before the deferred one."""

    async def test() -> None:
        down = Downstream("a")
        async with open_deferring(down, max_attempts=1) as rig:
            await rig.processor.process(batch(keyed("a")))
            result = await rig.processor.process(batch([event(1, "a"), event(2, "b")]))
            assert (result.handled, result.parked, result.deferred) == (1, 1, 0)
            assert (await lists(rig))["a"].entries == 2
            assert down.attempts[1] == 0

    simulated(test)


def test_deferred_key_comes_back_by_itself_and_in_order() -> None:
    """Batches of other keys start the replays; later events of the key run behind them."""

    async def test() -> None:
        down = Downstream("a")
        async with open_deferring(down, max_attempts=1) as rig:
            await rig.processor.process(batch(keyed("a", "a", "b")))
            down.down.clear()
            for number in range(3, 9):
                await asyncio.sleep(2)
                key = "a" if number % 2 else "b"
                await rig.processor.process(batch([event(number, key)]))
            await rig.processor.wait_idle()
            await rig.processor.replayer.run_due(4)
            assert [n for n in rig.handled if n in {0, 1, 3, 5, 7}] == [0, 1, 3, 5, 7]
            assert await lists(rig) == {}

    simulated(test)


def test_stale_owner_starts_no_further_attempt() -> None:
    """A lane checks its claim before each further attempt; the new owner runs the event."""

    async def test() -> None:
        down = Downstream("a", "b")
        settings = {"retry_initial_seconds": 1.0, "retry_max_seconds": 1.0}
        async with open_deferring(down, **settings) as rig:
            late = asyncio.create_task(rig.processor.process(batch(keyed("a", "b"))))
            await asyncio.sleep(0.5)
            await rig.store.claim(SOURCE)
            with pytest.raises(OwnershipLostError):
                await late
            assert down.attempts == {0: 1, 1: 1}
            assert await lists(rig) == {}

    simulated(test)


def test_stale_owner_starts_nothing_after_a_hold() -> None:
    """A lane checks its claim after each wait for the circuit."""

    async def test() -> None:
        down = Downstream()
        async with open_deferring(down) as rig:
            circuit = await rig.breaker.isolate("op", "test")
            late = asyncio.create_task(rig.processor.process(batch(keyed("a"))))
            await asyncio.sleep(1)
            await rig.store.claim(SOURCE)
            await rig.breaker.close_circuit(circuit.generation, "op")
            with pytest.raises(OwnershipLostError):
                await late
            assert down.attempts == {}

    simulated(test)


def test_stale_owner_cannot_defer() -> None:
    """Its deferral would bring back an event that the new owner has handled."""

    async def test() -> None:
        down = Downstream("a")
        async with open_deferring(down, max_attempts=1) as rig:
            down.call_seconds = {"a": 2.0}
            late = asyncio.create_task(rig.processor.process(batch(keyed("a"))))
            await asyncio.sleep(1)
            await rig.store.claim(SOURCE)
            with pytest.raises(OwnershipLostError):
                await late
            assert await lists(rig) == {}

    simulated(test)


def test_replayed_event_is_skipped_when_the_answer_of_its_deferral_was_lost() -> None:
    """A replay was faster than the repeat of the write."""

    async def test() -> None:
        down = Downstream("a")
        async with open_deferring(down, max_attempts=1) as rig:
            events = keyed("a")
            claim = await rig.store.claim(SOURCE)
            writing = WritingAs(claim.owner, "")
            await rig.store.poison(writing, SOURCE, "a", position_of(events[0]), "x")
            assert await rig.store.lease(SOURCE, "a", "t", 1000)
            await rig.store.finish(SOURCE, "a", "t", position_of(events[0]))
            result = await rig.processor.process(batch(events))
            assert (result.skipped, result.deferred) == (1, 0)

    simulated(test)


def test_event_that_its_list_has_as_poisoned_is_announced_instead_of_deferred() -> None:
    """An earlier call has stored the poisoned event, but its answer was lost."""

    async def test() -> None:
        events = keyed("a", "a")
        failure = Failure(FailureKind.POISON, PoisonEventError("x"), 1, 0.0, 0.0)
        message = PoisonMessage.from_failure(
            events[0], failure, handler="h", circuit_generation=0, instance="i"
        )

        async def store_and_fail(each: Event) -> None:
            writing = WritingAs(rig.progress.owner(SOURCE), "")
            place = writing, SOURCE, "a", position_of(each)
            await rig.store.poison(*place, message.to_json())
            raise DependencyUnavailableError("the bank is down")

        async with open_rig(store_and_fail, settings=DEFERS | {"max_attempts": 1}) as rig:
            result = await rig.processor.process(batch(events))
            assert (result.poisoned, result.parked, result.deferred) == (1, 1, 0)

    simulated(test)


def test_event_that_cannot_be_stored_keeps_its_place() -> None:
    """A handler that replaces parts of its event must not break the lane; the batch runs again."""

    async def test() -> None:
        down = Downstream()
        async with open_deferring(down, max_attempts=1, hold_seconds=3.0) as rig:

            async def spoil(each: Event) -> None:
                object.__setattr__(each, "body", object())
                raise DependencyUnavailableError("down")

            rig.processor.parts = replace(rig.processor.parts, handle=spoil)
            with pytest.raises(DependencyUnavailableError, match="was kept for 3 s"):
                await rig.processor.process(batch(keyed("a")))
            assert await lists(rig) == {}

    simulated(test)


def test_poison_in_skip_mode_needs_no_list() -> None:
    """Poison is no reason to defer a key."""

    async def test() -> None:
        down = Downstream("a")
        down.error = PoisonEventError("bad")
        async with open_deferring(down) as rig:
            result = await rig.processor.process(batch(keyed("a", "a")))
            assert (result.poisoned, await lists(rig)) == (2, {})

    simulated(test)


def _permit(rig: Rig) -> Permit:
    return Permit(rig.breaker.circuit.generation)
