"""The ramp: after closing, the share of lanes that may run rises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breaker import CircuitOpenError, CircuitState, ManualClock
from processing.batch.hold import Hold
from processing.batch.ramp import Place, lanes_admitted, partition_number
from processing.errors import ShutdownError
from processing.event import Event
from processing.identity import Source
from tests.support.processing.events import IDENTITY, batch, event
from tests.support.processing.processor_rig import Rig, in_order, keyed, open_rig, trip

ELEVEN = [f"key {number}" for number in range(11)]


def test_permits_go_to_the_lowest_partitions() -> None:
    """With 32 partitions and 10 permits, ten partitions begin with one lane each."""
    begin = [lanes_admitted(0.0, 10, Place(number, 32, 128)) for number in range(32)]
    assert begin == [1] * 10 + [0] * 22


def test_few_partitions_begin_with_several_lanes() -> None:
    """Ten permits on four partitions are three, three, two and two lanes."""
    assert [lanes_admitted(0.0, 10, Place(number, 4, 128)) for number in range(4)] == [3, 3, 2, 2]


@given(
    share=st.floats(0, 1),
    permits=st.integers(1, 200),
    partitions=st.integers(1, 64),
    lanes=st.integers(1, 200),
)
def test_share_of_the_fleet_is_divided_without_rest(
    share: float, permits: int, partitions: int, lanes: int
) -> None:
    """All partitions together have exactly the fleet's share, and at most one lane apart."""
    parts = [
        lanes_admitted(share, permits, Place(number, partitions, lanes))
        for number in range(partitions)
    ]
    most = lanes * partitions
    assert sum(parts) == min(most, permits + int(max(0, most - permits) * share + 1e-6))
    assert max(parts) - min(parts) <= 1
    later = [
        lanes_admitted(min(1.0, share + 0.1), permits, Place(number, partitions, lanes))
        for number in range(partitions)
    ]
    assert all(now <= then for now, then in zip(parts, later, strict=True))


@given(number=st.integers(0, 63), permits=st.integers(1, 200), lanes=st.integers(1, 200))
def test_all_lanes_run_at_the_end(number: int, permits: int, lanes: int) -> None:
    assert lanes_admitted(1.0, permits, Place(number, 64, lanes)) == lanes


@pytest.mark.parametrize(("name", "number"), [("0", 0), ("31", 31), ("", 0), ("a", 0), ("²", 0)])
def test_partition_without_a_number_counts_as_the_first(name: str, number: int) -> None:
    assert partition_number(name) == number


class Lanes:
    """A handler whose events run until released, and the clock of breaker and event loop."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.started: list[int] = []
        self.running: set[int] = set()
        self.release = asyncio.Event()
        self.rig: Rig

    async def handle(self, each: Event) -> None:
        self.started.append(each.sequence_number)
        self.running.add(each.sequence_number)
        await self.release.wait()
        self.running.discard(each.sequence_number)

    async def finish_running(self) -> None:
        """Let the running events finish; events that start from now on run until released."""
        finishing, self.release = self.release, asyncio.Event()
        finishing.set()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(40):
            await asyncio.sleep(0)

    async def after(self, seconds: float) -> int:
        """Let time pass in steps, and return the number of events that have started."""
        steps = max(1, round(seconds / 0.05))
        for _ in range(steps):
            self.clock.advance(seconds / steps)
            await self.settle()
        return len(self.started)

    async def close_circuit(self) -> None:
        breaker = self.rig.breaker
        await breaker.isolate("ann")
        await breaker.close_circuit(breaker.circuit.generation, "ann")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    return ManualClock()


@asynccontextmanager
async def open_lanes(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch, **settings: object
) -> AsyncIterator[Lanes]:
    monkeypatch.setattr(asyncio.get_running_loop(), "time", clock.monotonic)
    lanes = Lanes(clock)
    rules = {"half_open_permits": 1, "ramp_seconds": 10}
    async with open_rig(
        lanes.handle, settings=settings, breaker_settings=rules, clock=clock
    ) as lanes.rig:
        yield lanes


async def test_lanes_start_one_after_another(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eleven lanes: one at once, then one per second, in the order of their first events."""
    async with open_lanes(clock, monkeypatch) as lanes:
        await lanes.close_circuit()
        running = asyncio.create_task(lanes.rig.processor.process(batch(keyed(*ELEVEN))))
        await lanes.settle()
        assert lanes.started == [0]
        assert lanes.rig.processor.parts.gate.ramping
        counts = [await lanes.after(1.05) for _ in range(3)]
        assert counts == [2, 3, 4]
        assert await lanes.after(5) == 9
        assert await lanes.after(2) == 11
        assert lanes.started == list(range(11))
        assert lanes.rig.processor.holding is False
        lanes.release.set()
        assert (await running).handled == 11


async def test_lane_that_ends_makes_room_for_the_next(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ramp limits the lanes that run at the same time, and not the number of events."""
    async with open_lanes(clock, monkeypatch) as lanes:
        lanes.release.set()
        await lanes.close_circuit()
        events = keyed(*ELEVEN * 3)
        result = await lanes.rig.processor.process(batch(events))
        assert result.handled == 33
        assert in_order(events, lanes.started)


async def test_lanes_held_by_the_open_circuit_ramp_up_in_order(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lanes in mid-batch continue with their next events step by step, each key in order."""
    async with open_lanes(clock, monkeypatch) as lanes:
        events = keyed(*ELEVEN * 2)
        running = asyncio.create_task(lanes.rig.processor.process(batch(events)))
        await lanes.settle()
        assert len(lanes.started) == 11
        await lanes.rig.breaker.isolate("ann")
        await lanes.finish_running()
        assert (len(lanes.started), lanes.running) == (11, set())
        await lanes.rig.breaker.close_circuit(1, "ann")
        await lanes.settle()
        assert lanes.started[11:] == [11]
        assert await lanes.after(4.05) == 11 + 5
        lanes.release.set()
        assert (await running).handled == 22
        assert in_order(events, lanes.started)


async def test_high_partition_waits_for_its_first_lane(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Partition 3 of 4 has none of the two permits; the number seen is the greatest."""
    async with open_lanes(clock, monkeypatch) as lanes:
        source = Source(IDENTITY, "3")
        await lanes.close_circuit()
        events = [event(number, f"key {number}", source=source) for number in range(4)]
        running = asyncio.create_task(lanes.rig.processor.process(batch(events, source)))
        await lanes.settle()
        assert lanes.started == []
        assert await lanes.after(1.9) == 0  # 16 lanes in all: the fourth may run after 2 s
        assert await lanes.after(0.2) == 1
        lanes.release.set()
        await running


@pytest.mark.parametrize("end", ["stop", "halt", "opening"])
async def test_stop_halt_and_opening_end_the_wait(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """No further lane starts; with an open circuit the lanes hold as always."""
    async with open_lanes(clock, monkeypatch, hold_seconds=5) as lanes:
        await lanes.close_circuit()
        running = asyncio.create_task(lanes.rig.processor.process(batch(keyed(*ELEVEN))))
        await lanes.settle()
        match end:
            case "stop":
                lanes.rig.processor.stop()
            case "halt":
                (run,) = lanes.rig.processor._runs
                run.hold.halt(RuntimeError("broken"))
            case _:
                await lanes.rig.breaker.isolate("ann")
                await lanes.after(0.1)
        await lanes.settle()
        assert not lanes.rig.processor.parts.gate.ramping
        lanes.release.set()
        expected = {"stop": ShutdownError, "halt": RuntimeError, "opening": CircuitOpenError}[end]
        if end == "opening":
            await lanes.after(6)
        with pytest.raises(expected):
            await running
        assert lanes.started == [0]


async def test_wait_in_the_ramp_counts_for_the_hold_time(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that no lane could start for hold_seconds fails, and its retry continues the ramp."""
    async with open_lanes(clock, monkeypatch, hold_seconds=1) as lanes:
        source = Source(IDENTITY, "9")
        await lanes.close_circuit()
        events = [event(0, "a", source=source)]
        running = asyncio.create_task(lanes.rig.processor.process(batch(events, source)))
        await lanes.after(1.1)
        with pytest.raises(CircuitOpenError, match="closed and admits more events step by step"):
            await running
        again = asyncio.create_task(lanes.rig.processor.process(batch(events, source)))
        await lanes.after(0.5)
        assert lanes.started == []
        lanes.release.set()
        lanes.clock.advance(9)
        await lanes.settle()
        assert (await again).handled == 1


async def test_wait_beside_a_running_lane_does_not_fail_the_batch(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch makes progress, so its waiting lanes may wait longer than hold_seconds."""
    async with open_lanes(clock, monkeypatch, hold_seconds=0.2) as lanes:
        await lanes.close_circuit()
        running = asyncio.create_task(lanes.rig.processor.process(batch(keyed(*ELEVEN))))
        assert await lanes.after(10.1) == 11
        lanes.release.set()
        assert (await running).handled == 11


async def test_second_opening_begins_a_new_ramp(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lanes that had their turn in the first ramp wait again."""
    async with open_lanes(clock, monkeypatch) as lanes:
        await lanes.close_circuit()
        running = asyncio.create_task(lanes.rig.processor.process(batch(keyed(*ELEVEN * 2))))
        assert await lanes.after(3.05) == 4
        await lanes.close_circuit()
        await lanes.finish_running()
        assert len(lanes.running) == 1
        lanes.release.set()
        assert (await running).handled == 22


async def test_closing_found_out_by_a_probe_ramps_too(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lanes that ask for a probe's permit find the circuit closed by another instance."""
    async with open_lanes(clock, monkeypatch) as lanes:
        breaker, gate, hold = lanes.rig.breaker, lanes.rig.processor.parts.gate, Hold(60)
        await trip(breaker)
        await breaker.approve(1, "ann")
        await lanes.settle()
        gate.enter(hold, lanes=11)
        finish = asyncio.Event()

        async def lane() -> None:
            await gate.admit(hold)
            lanes.running.add(len(lanes.running))
            await finish.wait()

        running = [asyncio.create_task(lane()) for _ in range(3)]
        await breaker._store._shared.close(breaker._rules, 1, "bob", "done")
        await lanes.settle()
        assert len(lanes.running) == 1
        await lanes.after(2.1)
        assert len(lanes.running) == 3
        finish.set()
        await asyncio.gather(*running)


async def test_gate_does_not_look_at_the_ramp_once_it_is_over(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An admission then returns the same permit, without asking the breaker for the share."""
    async with open_lanes(clock, monkeypatch) as lanes:
        gate, hold = lanes.rig.processor.parts.gate, Hold(1)
        await lanes.close_circuit()
        first = gate.try_admit(hold)
        assert gate.try_admit(hold) is not first
        clock.advance(10)
        after = gate.try_admit(hold)
        monkeypatch.setattr(type(lanes.rig.breaker), "ramp_share", property(lambda _: 1 / 0))
        assert gate.try_admit(hold) is after


async def test_restart_long_after_the_closing_does_not_ramp(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The age of the closing comes from the store; a circuit that never opened has no ramp."""
    async with open_lanes(clock, monkeypatch) as lanes:
        assert lanes.rig.breaker.ramp_share == 1
        await lanes.close_circuit()
        assert lanes.rig.breaker.ramp_share == 0
        store = lanes.rig.breaker._store._shared
        clock.advance(4)
        for expected in (0.4, 1.0):
            restarted = type(lanes.rig.breaker)(store, lanes.rig.breaker.settings, clock=clock)
            assert (await restarted.refresh()).state is CircuitState.CLOSED
            assert restarted.ramp_share == pytest.approx(expected)
            clock.advance(6)
