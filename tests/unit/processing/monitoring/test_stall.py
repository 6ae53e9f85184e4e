"""The watch of one instance: which partition is ok, slow, holding or stalled, and why."""

from __future__ import annotations

import pytest

from breaker import (
    BreakerSettings,
    Circuit,
    CircuitBreaker,
    CircuitOpenError,
    CircuitState,
    MemoryCircuitStore,
)
from breaker.clock import ManualClock
from processing.errors import (
    DependencyUnavailableError,
    FaultyHandlerError,
    FormatError,
    OwnershipLostError,
    ParkedEventsLostError,
    ParkingFullError,
    RecreatedHubError,
    ShutdownError,
    StorageUnavailableError,
)
from processing.formats.event_fields import key_hash
from processing.monitoring.partition_state import PartitionState, State
from processing.monitoring.reasons import RESPONSES, Why
from processing.monitoring.stall import RETURN_SECONDS, Watch, held_by
from tests.support.processing.events import SOURCE, event

RECREATED = RecreatedHubError("the hub was created at 12:00")


class Rig:
    """A watch whose clock and hold the test sets."""

    def __init__(self, stall_seconds: float = 60.0, handler_seconds: float = 60.0) -> None:
        self.clock = ManualClock()
        self.held: Why | None = None
        self.watch = Watch(
            stall_seconds,
            handler_seconds=handler_seconds,
            held=lambda: self.held,
            clock=self.clock.monotonic,
        )

    def after(self, seconds: float) -> PartitionState:
        """Return the partition's state after some time, in which the state is read each second."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
            self.watch.states()
        (state,) = self.watch.states()
        return state

    def runs_again(self, error: BaseException, seconds: int) -> PartitionState:
        """Return the state after invocations of 5 s that all fail with the same error."""
        for _ in range(0, seconds, 10):
            self.after(5)
            self.watch.ended(SOURCE, error)
            self.after(5)
            self.watch.began(SOURCE, event(7))
        self.watch.ended(SOURCE, error)
        return self.after(0)


@pytest.fixture
def rig() -> Rig:
    found = Rig()
    found.watch.began(SOURCE, event(7))
    return found


@pytest.mark.parametrize(
    "why",
    [Why.FAILING, Why.KEPT, Why.KEYLESS, Why.FAULTY, Why.FULL, Why.STORAGE, Why.OVERDUE],
)
def test_event_that_waits_is_a_stall_after_sixty_seconds(rig: Rig, why: Why) -> None:
    """The state names the event, the reason, the error, and the response."""
    rig.watch.waits(SOURCE, event(7), why, TimeoutError("bank"))
    assert rig.after(59).state is State.OK
    found = rig.after(1)
    assert (found.state, found.why, found.seconds) == (State.STALLED, why, 60)
    assert (found.hub, found.partition, found.sequence_number) == ("events", "0", 7)
    assert found.key_hash == key_hash("k")
    assert found.reason == "TimeoutError: bank"
    assert found.todo


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (StorageUnavailableError("no answer"), Why.STORAGE),
        (ParkingFullError("10000 events"), Why.FULL),
        (ParkedEventsLostError("no token"), Why.LOST),
        (DependencyUnavailableError("bank"), Why.KEPT),
        (FormatError("format 4"), Why.NEWER),
        (FaultyHandlerError("no await"), Why.FAULTY),
        (RuntimeError("bug"), Why.ERROR),
    ],
)
def test_failed_invocations_at_the_same_event_are_a_stall(
    rig: Rig, error: Exception, why: Why
) -> None:
    """The time continues from one invocation to the next."""
    found = rig.runs_again(error, 60)
    assert (found.state, found.why) == (State.STALLED, why)
    assert found.reason == f"{type(error).__name__}: {error}"


def test_error_of_a_store_is_the_reason_while_the_invocation_retries(rig: Rig) -> None:
    """The reason disappears with the first call that succeeds."""
    rig.watch.waits(SOURCE, None, error=StorageUnavailableError("queue"))
    assert rig.after(60).why is Why.STORAGE
    rig.watch.settled(SOURCE, None)
    assert rig.after(0).why is not Why.STORAGE


@pytest.mark.parametrize("why", [Why.CIRCUIT, Why.ISOLATED])
def test_hold_of_two_hours_is_no_stall(rig: Rig, why: Why) -> None:
    """The circuit has an alarm of its own; the stall's time starts after the hold."""
    rig.after(50)
    rig.held = why
    rig.watch.ended(SOURCE, CircuitOpenError(Circuit("c", CircuitState.OPEN)))
    found = rig.runs_again(CircuitOpenError(Circuit("c", CircuitState.OPEN)), 7200)
    assert (found.state, found.why) == (State.HOLDING, why)
    rig.held = None
    rig.watch.began(SOURCE, event(7))
    rig.watch.waits(SOURCE, event(7), Why.KEPT, TimeoutError("bank"))
    assert rig.after(59).state is State.OK
    assert rig.after(1).state is State.STALLED


def test_pause_is_shown_as_paused(rig: Rig) -> None:
    """A pause is an operator's decision, however long it lasts."""
    rig.held = Why.PAUSED
    assert rig.after(7200).state is State.PAUSED


def test_circuit_of_a_dependency_holds_too(rig: Rig) -> None:
    """The lane names the reason, because the app's circuit is closed."""
    rig.watch.waits(SOURCE, event(7), Why.CIRCUIT, "the circuit of bank is open")
    found = rig.after(7200)
    assert (found.state, found.reason) == (State.HOLDING, "the circuit of bank is open")


def test_hold_ends_with_its_invocation(rig: Rig) -> None:
    """The dependency's circuit has closed; the next invocation calls the handler."""
    rig.watch.waits(SOURCE, event(7), Why.CIRCUIT, "the circuit of bank is open")
    rig.after(60)
    rig.watch.ended(SOURCE, DependencyUnavailableError("kept"))
    rig.watch.began(SOURCE, event(7))
    assert rig.after(1).state is State.OK


def test_one_call_is_slow_until_its_time_limit() -> None:
    """A call over its limit, which neither ends nor fails, is a stall."""
    rig = Rig(handler_seconds=120)
    rig.watch.began(SOURCE, event(7))
    assert rig.after(59).state is State.OK
    assert rig.after(1).state is State.SLOW
    assert rig.after(71).state is State.SLOW
    found = rig.after(1)  # a call is cancelled at most a tenth of its limit late
    assert (found.state, found.why) == (State.STALLED, Why.OVERDUE)


def test_failed_attempts_are_no_slow_call(rig: Rig) -> None:
    """Only one call that still runs is slow; an event whose calls fail is stalled."""
    rig.after(30)
    rig.watch.waits(SOURCE, event(7), Why.FAILING, TimeoutError("60 s"))
    assert rig.after(30).state is State.STALLED


def test_first_event_behind_other_lanes_is_slow_while_they_finish(rig: Rig) -> None:
    """The first event may have no lane yet."""
    for _ in range(10):
        rig.after(60)
        rig.watch.moved(SOURCE, event(7))
    assert rig.after(0).state is State.SLOW


def test_progress_ends_a_stall(rig: Rig) -> None:
    """The next event has its own time and no reason of an earlier event."""
    rig.watch.waits(SOURCE, event(7), Why.KEPT, TimeoutError("bank"))
    assert rig.after(60).state is State.STALLED
    rig.watch.moved(SOURCE, event(8))
    found = rig.after(0)
    assert (found.state, found.why, found.seconds, found.sequence_number) == (State.OK, None, 0, 8)
    rig.watch.moved(SOURCE, None)
    assert rig.watch.states() == []


def test_event_that_has_settled_is_no_reason(rig: Rig) -> None:
    """A later event that waited and ended does not explain why the first one waits."""
    rig.watch.waits(SOURCE, event(9, "other"), Why.KEPT, TimeoutError("bank"))
    rig.watch.settled(SOURCE, event(9, "other"))
    found = rig.after(60)
    assert (found.state, found.why) == (State.SLOW, None)


def test_lanes_full_of_kept_events_are_the_reason(rig: Rig) -> None:
    """The first event has no lane, because kept events occupy all lanes."""
    rig.watch.waits(SOURCE, event(9, "other"), Why.KEPT, TimeoutError("bank"))
    assert rig.after(60).why is Why.KEPT


def test_failing_event_of_another_lane_is_no_reason(rig: Rig) -> None:
    """Its attempts end soon, so it keeps no lane from starting; its success needs no call."""
    rig.watch.waits(SOURCE, event(9, "other"), Why.FAILING, TimeoutError("bank"))
    assert rig.after(60).state is State.SLOW


def test_failing_replay_of_an_earlier_event_is_no_reason(rig: Rig) -> None:
    """A replay's event was deferred; it does not hold the partition."""
    rig.watch.waits(SOURCE, event(3, "deferred"), Why.KEPT, TimeoutError("bank"))
    assert rig.after(60).state is State.SLOW


def test_full_lists_stay_the_reason_while_the_event_is_tried(rig: Rig) -> None:
    """The attempts of an event that cannot be deferred fail, too; the error is the latest one."""
    rig.watch.waits(SOURCE, event(7), Why.FULL, ParkingFullError("10000 events"))
    rig.watch.waits(SOURCE, event(7), Why.FAILING, TimeoutError("bank"))
    found = rig.after(60)
    assert (found.why, found.reason) == (Why.FULL, "TimeoutError: bank")


def test_redelivered_batch_begins_with_finished_events(rig: Rig) -> None:
    """The batch's first event was finished before; the time of the unfinished event continues."""
    rig.watch.moved(SOURCE, event(9))
    rig.watch.waits(SOURCE, event(9), Why.KEPT, TimeoutError("bank"))
    rig.after(40)
    rig.watch.ended(SOURCE, DependencyUnavailableError("bank"))
    rig.watch.began(SOURCE, event(7))
    rig.watch.moved(SOURCE, event(9))
    assert rig.after(20).state is State.STALLED


def test_event_of_a_rewound_partition_has_its_own_time(rig: Rig) -> None:
    """After a rewind an earlier event is the first."""
    rig.watch.moved(SOURCE, event(9))
    rig.after(50)
    rig.watch.began(SOURCE, event(2))
    rig.watch.moved(SOURCE, event(2))
    found = rig.after(30)
    assert (found.sequence_number, found.seconds) == (2, 30)


def test_finished_batch_leaves_nothing(rig: Rig) -> None:
    """An idle partition has no state."""
    rig.watch.ended(SOURCE)
    assert rig.watch.states() == []


def test_partition_of_another_owner_is_forgotten(rig: Rig) -> None:
    """The new owner reports the partition."""
    rig.watch.ended(SOURCE, OwnershipLostError("another instance"))
    assert rig.watch.states() == []


def test_partition_that_the_platform_took_away_is_forgotten(rig: Rig) -> None:
    """A stopped or moved partition must not look stalled on its former owner forever."""
    rig.watch.ended(SOURCE, StorageUnavailableError("queue"))
    rig.after(RETURN_SECONDS)
    rig.clock.advance(1)
    assert rig.watch.states() == []


def test_shutdown_explains_nothing(rig: Rig) -> None:
    """An instance that shuts down gives no reason for a stall."""
    rig.watch.ended(SOURCE, ShutdownError("stopping"))
    assert rig.after(1).why is None


def test_calls_without_an_invocation_do_nothing() -> None:
    """The processor calls the watch in every order without an error."""
    watch = Watch()
    watch.moved(SOURCE, event(1))
    watch.waits(SOURCE, event(1), Why.KEPT, "down")
    watch.settled(SOURCE, event(1))
    watch.ended(SOURCE)
    watch.lost(SOURCE)
    assert watch.states() == []


def test_each_reason_has_a_response() -> None:
    """An operator at 3 a.m. reads the next step."""
    assert set(RESPONSES) == set(Why) - {Why.RAMP}


async def test_hold_of_the_breaker_has_a_reason() -> None:
    """An isolation, an opening and a ramp hold the partitions."""
    rules = BreakerSettings(failure_threshold=1)
    async with CircuitBreaker(MemoryCircuitStore(rules.name), rules) as breaker:
        held = held_by(breaker)
        assert held() is None
        await breaker.isolate("op", "test")
        assert held() is Why.ISOLATED
        await breaker.close_circuit(1, "op")
        assert held() is Why.RAMP
        permit = await breaker.try_acquire()
        assert permit is not None
        await breaker.record_failure("e", "down", permit)
        assert held() is Why.CIRCUIT


def test_state_survives_json(rig: Rig) -> None:
    """The fleet and the console read the states of other instances."""
    rig.watch.waits(SOURCE, event(7), Why.KEYLESS, TimeoutError("bank"))
    found = rig.after(60)
    assert PartitionState.from_json(found.to_json()) == found
    assert "parked poison-head 0" in found.line
    assert "events/0/7" in found.line
    with pytest.raises(ValueError, match="unknown"):
        PartitionState.from_json(found.to_json() | {"state": "unknown"})


def test_recreated_hub_is_a_stall_at_once() -> None:
    """No waiting continues the partition, so that its operator need not wait either."""
    rig = Rig()
    rig.watch.began(SOURCE, event(7))
    assert rig.after(1).state is State.OK
    rig.watch.ended(SOURCE, RECREATED)
    state = rig.after(0)
    assert (state.state, state.why) == (State.STALLED, Why.RECREATED)
    assert "breakwater rewind --partition 0 --to-start" in state.todo
