"""Runs of the test kit: each outcome that the processor knows, as a user's test sees it."""

from __future__ import annotations

import bdb
import sys

import pytest

from breaker import CircuitState
from breaker import SettingsError as BreakerSettingsError
from processing.errors import (
    DependencyUnavailableError,
    HandlerLoadError,
    PoisonEventError,
    SettingsError,
)
from processing.event import Event
from processing.handlers.routes import Routes
from processing.testing.events import event
from processing.testing.outages import downstream_down
from processing.testing.running import TestApp, run
from tests.unit.processing.testing.handlers import Orders, charge, handle


def test_handled_events_are_the_passed_objects_in_the_order_of_their_keys() -> None:
    events = [event(key=key) for key in "abab"]
    outcome = run(handle, events)
    assert len(outcome.handled) == len(outcome.calls) == 4
    for key in "ab":
        own = [each for each in outcome.handled if each.key == key]
        passed = [each for each in events if each.key == key]
        assert [id(each) for each in own] == [id(each) for each in passed]
    assert (outcome.poisoned, outcome.kept, outcome.circuit) == ([], [], CircuitState.CLOSED)
    outcome.check()


def test_retries_take_no_time() -> None:
    """The three pauses are more than two minutes on the test clock."""
    failing = event("fail")
    pauses = {"PROCESSING_RETRY_INITIAL_SECONDS": 30, "PROCESSING_RETRY_MAX_SECONDS": 300}
    outcome = run(handle, [failing], settings=pauses)
    assert outcome.of(failing).attempts == 4
    assert outcome.seconds > 120


def test_poisoned_event_says_why_and_its_key_continues() -> None:
    bad, good = event("poison", key="a"), event(key="a")
    outcome = run(handle, [bad, good])
    assert (outcome.poisoned, outcome.handled) == ([bad], [good])
    assert outcome.of(bad).why == "processing.errors.PoisonEventError: asked for"
    assert outcome.of(bad).attempts == 1
    with pytest.raises(PoisonEventError, match="asked for"):
        outcome.check()


def test_events_behind_a_poisoned_one_are_parked_if_the_settings_say_so() -> None:
    bad, good = event("poison", key="a"), event(key="a")
    outcome = run(handle, [bad, good], settings={"PROCESSING_POISON_ORDERING": "park"})
    assert (outcome.poisoned, outcome.parked, outcome.handled) == ([bad], [good], [])


def test_event_whose_dependency_is_down_is_deferred_with_its_key_and_comes_back() -> None:
    events = [event(key="a"), event(key="a"), event(key="b")]
    with TestApp(charge) as app:
        with downstream_down("bank") as outage:
            outcome = app.run(events)
        assert outage.calls == len(outcome.calls) > 0
        assert (outcome.deferred, outcome.parked) == ([events[0], events[2]], [events[1]])
        assert "bank is down" in outcome.of(events[0]).why
        later = app.run(seconds=30)
    assert (later.deferred, later.parked) == ([], [])
    assert [each for each in later.handled if each.key == "a"] == events[:2]
    assert later.seconds >= 30


def test_circuit_opens_after_failures_and_an_approval_continues_with_the_kept_events() -> None:
    rules = {"BREAKER_FAILURE_THRESHOLD": 3, "BREAKER_HALF_OPEN_PERMITS": 1}
    settings = {**rules, "PROCESSING_MAX_LANES": 1, "PROCESSING_KEYLESS_ORDER": "none"}
    bad, good = [event("fail") for _ in range(3)], [event() for _ in range(4)]
    with TestApp(handle, settings=settings) as app:
        outcome = app.run([*bad, *good])
        assert outcome.circuit is CircuitState.OPEN
        assert (outcome.poisoned, outcome.kept) == (bad, good)
        assert outcome.of(good[0]).attempts == 0
        assert [type(each).__name__ for each in outcome.errors] == ["CircuitOpenError"]
        app.approve()
        later = app.run()
        assert (later.handled, later.kept, later.circuit) == (good, [], CircuitState.CLOSED)
        with pytest.raises(RuntimeError, match="is closed; only an open one is approved"):
            app.approve()


def test_later_batches_of_a_partition_wait_behind_a_failed_one() -> None:
    """Another partition continues."""

    async def refuse(each: Event) -> None:
        if each.partition == "0":
            raise DependencyUnavailableError("down")

    waiting, other = [event(), event()], event(partition=1)
    outcome = run(refuse, [*waiting, other], batch_size=1)
    assert (outcome.kept, outcome.handled) == (waiting, [other])
    assert outcome.of(waiting[1]).attempts == 0


def test_failed_batch_is_delivered_again_while_seconds_are_left() -> None:
    waiting = event()
    with downstream_down("bank", seconds=80):
        outcome = run(charge, [waiting], seconds=200)
    assert outcome.handled == [waiting]
    assert len(outcome.errors) == 1


def test_event_handled_before_a_crash_is_handled_twice_and_no_other() -> None:
    first, crashed, last = event(), event(), event()
    outcome = run(handle, [first, crashed, last], crash_after=crashed)
    assert outcome.handled == [first, crashed, crashed, last]
    assert outcome.kept == []


def test_crash_after_an_event_that_is_never_handled_is_refused() -> None:
    bad = event("poison")
    with pytest.raises(RuntimeError, match=f"no crash: .* has not finished event {bad.id}"):
        run(handle, [bad], crash_after=bad)
    with pytest.raises(ValueError, match="not among the events"):
        run(handle, [bad], crash_after=event())


def test_redelivered_event_is_skipped() -> None:
    once = event()
    with TestApp(handle) as app:
        assert app.run([once]).handled == [once]
        outcome = app.run([once])
    assert (outcome.handled, outcome.skipped, outcome.calls) == ([], [once], [])


def test_class_is_built_from_the_settings_and_closed() -> None:
    Orders.built.clear()
    Orders.closed.clear()
    outcome = run(Orders, [crashed := event()], settings={"BANK_URL": "x"}, crash_after=crashed)
    assert [each.seen for each in Orders.built] == [[crashed], [crashed]]
    assert Orders.closed == Orders.built[::-1]
    assert outcome.handled == [crashed, crashed]
    assert Orders.built[0].url == "x"


def test_object_of_a_killed_process_is_not_closed_before_the_app() -> None:
    """An `aclose` that saves events would hide that a kill loses them."""
    Orders.built.clear()
    Orders.closed.clear()
    with TestApp(Orders, settings={"BANK_URL": "x"}) as app:
        first, crashed = event(), event()
        outcome = app.run([first, crashed], batch_size=1, crash_after=crashed)
        assert outcome.handled == [first, crashed, crashed]
        assert [each.seen for each in Orders.built] == [[first, crashed], [crashed]]
        assert Orders.closed == []
    assert Orders.closed == Orders.built[::-1]


def test_object_of_the_test_outlives_a_crash() -> None:
    """The test has built the object, so nobody can build another one."""
    Orders.closed.clear()
    orders = Orders("x")
    run(orders, [first := event(), last := event()], crash_after=first)
    assert orders.seen == [first, first, last]
    assert Orders.closed == [orders]


def test_classes_of_routes_are_built_again_after_a_crash() -> None:
    """A new process has new objects, as with a class that stands alone."""
    routes = Routes(by="type")
    built: list[object] = []

    @routes.on("order")
    class Counting:
        def __init__(self) -> None:
            built.append(self)

        async def __call__(self, _each: Event) -> None:
            """Handle nothing."""

    first, last = (event(properties={"type": "order"}) for _ in range(2))
    assert run(routes, [first, last], crash_after=first).handled == [first, first, last]
    assert len(built) == 2


def test_handler_that_does_not_start_is_refused_and_closed() -> None:
    Orders.closed.clear()

    class Broken(Orders):
        async def start(self) -> None:
            raise ConnectionError("no pool")

    with pytest.raises(HandlerLoadError, match="no pool"):
        run(Broken, [event()], settings={"BANK_URL": "x"})
    assert len(Orders.closed) == 1


def test_handler_is_found_by_its_name() -> None:
    name = "tests.unit.processing.testing.handlers:handle"
    assert run(name, [once := event()]).handled == [once]


def test_unusable_handlers_and_settings_are_refused() -> None:
    with pytest.raises(HandlerLoadError, match="cannot be called"):
        run(7, [event()])
    with pytest.raises(
        HandlerLoadError, match="is an object of the type generator, which cannot be called"
    ):
        run((each for each in [1]), [event()])
    with pytest.raises(HandlerLoadError, match="takes \\(\\)"):
        run(lambda: None, [event()])
    with pytest.raises(SettingsError, match="it takes at most"):
        run(handle, [], settings={"PROCESSING_HOLD_SECONDS": 900})
    with pytest.raises(BreakerSettingsError, match="did you mean BREAKER_FAILURE_THRESHOLD"):
        run(handle, [], settings={"BREAKER_FAILURE_THRESHOLDS": 3})


def test_arguments_of_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match="events is one Event; it takes a list"):
        run(handle, event())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="contains a dict; it takes a list of events"):
        run(handle, [{}])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="the setting A is a dict; it takes a text"):
        run(handle, [], settings={"A": {}})


def test_settings_may_have_the_types_of_python() -> None:
    settings = {
        "PROCESSING_POISON_ERRORS": ["builtins.ValueError", "builtins.KeyError"],
        "BREAKER_COUNT_POISON": False,
        "BREAKER_FAILURE_THRESHOLD": 1,
    }
    outcome = run(handle, [once := event("fail")], settings=settings)
    assert outcome.of(once).attempts == 1
    assert outcome.circuit is CircuitState.CLOSED


def test_memory_error_keeps_the_event() -> None:
    def fail(_event: Event) -> None:
        raise MemoryError

    outcome = run(fail, [once := event()])
    assert outcome.kept == [once]


@pytest.mark.parametrize("in_thread", [False, True])
def test_outcome_of_pytest_in_a_handler_ends_the_test(in_thread: bool) -> None:
    """As an error of the handler it would be retried, and the event would be poisoned."""
    calls: list[Event] = []

    def fail(each: Event) -> None:
        calls.append(each)
        pytest.fail("from the handler")

    async def fail_async(each: Event) -> None:
        fail(each)

    with pytest.raises(pytest.fail.Exception, match="from the handler"):
        run(fail if in_thread else fail_async, [event()])
    assert len(calls) == 1


def test_breakpoint_in_a_handler_reaches_the_debugger_and_its_end_ends_the_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def debugger() -> None:
        raise bdb.BdbQuit

    monkeypatch.setattr(sys, "breakpointhook", debugger)

    async def stop(_event: Event) -> None:
        breakpoint()

    with pytest.raises(bdb.BdbQuit):
        run(stop, [event()])


def test_event_that_a_hub_would_not_deliver_is_refused() -> None:
    first, second = event(), event()
    with pytest.raises(ValueError, match="create the events in the order"):
        run(handle, [second, first])
    with TestApp(handle) as app:
        app.run([second])
        with pytest.raises(ValueError, match="create the events in the order"):
            app.run([first])
    with pytest.raises(ValueError, match="batch_size is 0"):
        run(handle, [second], batch_size=0)


def test_two_events_with_one_id_are_refused() -> None:
    """The app would skip the second one, and a test would see the outcome of the first."""
    first, second = event("x", sequence_number=5), event("y", sequence_number=5)
    with pytest.raises(ValueError, match=r"/5/\d+ is there already with another body"):
        run(handle, [first, second])
    with TestApp(handle) as app:
        app.run([first])
        with pytest.raises(ValueError, match="is there already with another body"):
            app.run([event("x", key="k", sequence_number=5)])
        assert app.run([event("x", sequence_number=5)]).skipped == [first]


def test_closed_app_is_refused() -> None:
    with TestApp(handle) as app:
        pass
    with pytest.raises(RuntimeError, match="use it in a `with` block"):
        app.run()


def test_text_of_an_outcome_names_each_event() -> None:
    bad, good = event("poison", key="a"), event()
    lines = str(run(handle, [bad, good])).splitlines()
    assert lines[0] == (
        f"0/{bad.sequence_number} (key 'a'): poisoned after 1 attempt: "
        "processing.errors.PoisonEventError: asked for"
    )
    assert lines[1] == f"0/{good.sequence_number} (no key): handled after 1 attempt"
    assert lines[2] == "circuits: app closed"


def test_unknown_event_has_no_outcome() -> None:
    with pytest.raises(KeyError, match="has not received event"):
        run(handle, []).of(event())
