"""The test kit calls a handler of lists as the app does, and records each call."""

from __future__ import annotations

import pytest

from breakwater.testing import TestApp, downstream_down, event, run
from processing.errors import PoisonEventError
from processing.event import Event

HUNDRED = [str(number) for number in range(100)]


def handle(events: list[Event]) -> None:
    if any(each.text() == "bad" for each in events):
        raise PoisonEventError("a bad event")


async def handle_async(events: list[Event]) -> None:
    handle(events)


def ids(events: list[Event]) -> set[str]:
    return {each.id for each in events}


@pytest.mark.parametrize("handler", [handle, handle_async])
def test_call_has_the_events_of_many_keys(handler: object) -> None:
    orders = [event(each, key=each) for each in HUNDRED]
    outcome = run(handler, orders)
    outcome.check()
    assert ids(outcome.handled) == ids(orders)
    assert max(len(call.events) for call in outcome.calls) > 1
    assert sum(len(call.events) for call in outcome.calls) == 100
    assert all(call.event is call.events[0] for call in outcome.calls)


def test_bad_event_of_a_list_is_poisoned_alone() -> None:
    bad = event("bad", key="bad")
    orders = [bad, *(event(each, key=each) for each in HUNDRED)]
    outcome = run(handle, orders)
    assert outcome.poisoned == [bad]
    assert ids(outcome.handled) == ids(orders) - {bad.id}
    failed = [call for call in outcome.calls if call.error is not None]
    assert failed[-1].events == (bad,)
    assert outcome.of(bad).attempts == len(failed)
    assert "a bad event" in outcome.of(bad).why
    assert outcome.of(orders[1]).error is None


def test_whole_list_is_handled_again_after_a_crash() -> None:
    orders = [event(each, key=each) for each in "abc"]
    outcome = run(handle, orders, crash_after=orders[1])
    crashed, *_ = outcome.calls
    assert orders[1] in crashed.events
    for each in orders:
        assert outcome.handled.count(each) == (2 if each in crashed.events else 1)


def test_outage_fails_the_list_before_the_handler() -> None:
    calls: list[int] = []

    def count(events: list[Event]) -> None:
        calls.append(len(events))

    orders = [event(each, key=each) for each in "abc"]
    with TestApp(count, settings={"PROCESSING_MAX_ATTEMPTS": 1}) as app:
        with downstream_down() as outage:
            app.run(orders)
        assert (calls, outage.calls > 0) == ([], True)


def test_outcome_of_the_test_in_a_list_handler_ends_the_test() -> None:
    def skips(_events: list[Event]) -> None:
        pytest.fail("wrong event")

    with pytest.raises(pytest.fail.Exception, match="wrong event"):
        run(skips, [event()])
