"""The outcomes of BatchProcessor in the circuit: counting, standstill, and a dead key's probes."""

from __future__ import annotations

import asyncio

import pytest

from breaker import CircuitState, Key, ManualClock, MemoryCircuitStore
from breaker.notes import Report
from breaker.state import Change, Rules
from breaker.stores.base import Admission
from processing.errors import DependencyUnavailableError, PoisonEventError
from processing.event import Event
from tests.support.processing.events import batch, event
from tests.support.processing.processor_rig import keyed, open_rig, trip


class RecordingStore(MemoryCircuitStore):
    """A store that keeps the reports and the keys that ask for a permit."""

    def __init__(self) -> None:
        super().__init__("breakwater")
        self.reports: list[Report] = []
        self.asked: set[str] = set()

    async def report(self, rules: Rules, report: Report) -> Change:
        self.reports.append(report)
        return await super().report(rules, report)

    async def acquire(self, rules: Rules, probe_id: str, key: str = "") -> Admission:
        self.asked.add(key)
        return await super().acquire(rules, probe_id, key)


async def test_event_that_fails_in_each_delivery_counts_once() -> None:
    """One event that is kept and redelivered never opens the circuit of all others."""

    async def down(_each: Event) -> None:
        raise DependencyUnavailableError("down")

    settings = {"max_attempts": 1, "hold_seconds": 0.0}
    async with open_rig(down, settings=settings, breaker_settings={"failure_threshold": 5}) as rig:
        for _delivery in range(10):
            with pytest.raises(DependencyUnavailableError):
                await rig.processor.process(batch(keyed("a")))
        circuit = await rig.breaker.refresh()
        assert (circuit.state, circuit.failures) == (CircuitState.CLOSED, 1)


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (DependencyUnavailableError("down"), 3),
        (LookupError("x"), 3),
        (PoisonEventError("bad"), 0),
    ],
)
async def test_each_failed_attempt_is_reported_unless_poison(
    error: Exception, attempts: int
) -> None:
    """Attempts count when they end, also those inside the retries of one event."""

    async def fail(_each: Event) -> None:
        raise error

    settings = {"max_attempts": 3, "hold_seconds": 0.0}
    async with open_rig(fail, settings=settings) as rig:
        await asyncio.gather(rig.processor.process(batch(keyed("a"))), return_exceptions=True)
        assert (await rig.breaker.refresh()).failed_attempts == attempts


async def test_success_and_its_duration_are_reported() -> None:
    """The longest successful call of the report's time is known, and ends earlier attempts."""
    calls = 0

    async def slow(each: Event) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise LookupError("x")
        await asyncio.sleep(0.02 if each.sequence_number == 1 else 0)

    store = RecordingStore()
    async with open_rig(slow, store=store) as rig:
        await rig.processor.process(batch(keyed("a", "a", "a")))
        await rig.breaker.refresh()
    [report] = [each for each in store.reports if each.succeeded]
    assert report.failed_attempts == 0
    assert 0.02 <= report.longest_seconds < 5


@pytest.mark.parametrize(
    ("key", "known"), [("a", Key("a")), (None, Key("0", several=True)), ("", Key(""))]
)
async def test_running_keys_are_reported_until_their_lane_ends(key: str | None, known: Key) -> None:
    """A partition's events without a key are one running key, which stands for several."""
    started, release = asyncio.Event(), asyncio.Event()

    async def hang(_each: Event) -> None:
        started.set()
        await release.wait()

    store = RecordingStore()
    async with open_rig(hang, store=store) as rig:
        running = asyncio.create_task(rig.processor.process(batch(keyed(key, key))))
        await started.wait()
        await rig.breaker.refresh()
        assert store.reports[-1].running == (known.token,)
        release.set()
        await running
        await rig.breaker.refresh()
        assert not store.reports[-1].running


@pytest.mark.parametrize("keys", [("a",), ("a", "b"), (None,)])
async def test_outage_with_few_keys_in_flight_opens(keys: tuple[str | None, ...]) -> None:
    """C13, P13: at default settings the circuit opens within the window and five seconds."""
    clock, down = ManualClock(), False

    async def call(_each: Event) -> None:
        clock.advance(0.25)
        await asyncio.sleep(0)
        if down:
            raise DependencyUnavailableError("down")

    async with open_rig(call, clock=clock) as rig:
        await rig.processor.process(batch(keyed(*"abcdefgh" * 10)))
        down, began = True, clock.monotonic()
        running = asyncio.create_task(
            rig.processor.process(
                batch([event(100 + number, key) for number, key in enumerate(keys)])
            )
        )
        while rig.breaker.circuit.admits and clock.monotonic() - began < 60:
            await asyncio.sleep(0)
        assert clock.monotonic() - began <= 35
        assert rig.breaker.circuit.reason.startswith("no event has succeeded for 3")
        assert rig.poisoned == []
        rig.processor.stop()
        await asyncio.gather(running, return_exceptions=True)


async def test_bad_keys_among_healthy_ones_never_open() -> None:
    """C12: while other keys succeed, no number of failed attempts opens the circuit."""
    clock = ManualClock()

    async def call(each: Event) -> None:
        clock.advance(0.25)
        await asyncio.sleep(0)
        if each.key != "good":
            raise DependencyUnavailableError("down")

    settings = {"hold_seconds": 3600.0, "max_attempts": 1}
    async with open_rig(call, settings=settings, clock=clock) as rig:
        bad, began = [str(number) for number in range(10)], clock.monotonic()
        running = asyncio.create_task(rig.processor.process(batch(keyed(*bad, *["good"] * 60))))
        while len(rig.handled) < 60:
            await asyncio.sleep(0)
            assert rig.breaker.circuit.admits
        assert clock.monotonic() - began > 60
        rig.processor.stop()
        await asyncio.gather(running, return_exceptions=True)


async def test_dead_key_steps_aside_while_others_probe() -> None:
    """One dead key at the head of its partition must not make each approval fail."""
    calls = 0

    async def call(each: Event) -> None:
        nonlocal calls
        if each.key == "dead":
            calls += 1
            raise DependencyUnavailableError("down")
        for _ in range(50):
            await asyncio.sleep(0)

    store = RecordingStore()
    async with open_rig(
        call,
        settings={"max_attempts": 1},
        breaker_settings={"half_open_permits": 4},
        store=store,
    ) as rig:
        await trip(rig.breaker)
        await rig.breaker.approve(1, "op")
        running = asyncio.create_task(rig.processor.process(batch(keyed("dead", *"aabbccdd"))))
        while rig.breaker.circuit.state is CircuitState.HALF_OPEN:
            await asyncio.sleep(0)
        assert (rig.breaker.circuit.state, rig.breaker.circuit.generation) == (
            CircuitState.CLOSED,
            1,
        )
        assert calls == 1
        assert store.asked == {Key(key).token for key in ("dead", *"abcd")}
        rig.processor.stop()
        await asyncio.gather(running, return_exceptions=True)
