"""The rule that says which events are copies of earlier events."""

from __future__ import annotations

from typing import Any

import pytest

from processing.event import Event
from processing.progress.copies import CopyFinder
from tests.support.processing.events import event

FINDER = CopyFinder("id", 10)


def sent(number: int, value: object, key: str | None = "k", **values: Any) -> Event:
    return event(number, key, properties={"id": value}, **values)


def copies_of(*events: Event) -> tuple[list[int], dict[int, list[int]]]:
    """Return the known copies and the copies behind an event of the batch, by number."""
    found = FINDER.find(events, FINDER.ids_of(events), {})
    behind = {
        number: [each.sequence_number for each in copies] for number, copies in found.behind.items()
    }
    return [each.sequence_number for each in found.known], behind


def test_later_events_with_the_same_key_and_id_are_copies() -> None:
    """They stand behind the first one."""
    events = [sent(1, "a"), sent(2, "b"), sent(3, "a"), sent(4, "a")]
    assert copies_of(*events) == ([], {1: [3, 4]})
    found = FINDER.find(events, FINDER.ids_of(events), {})
    assert [each.sequence_number for each in found.without(events)] == [1, 2]


def test_copies_of_finished_events_are_known() -> None:
    """The store has the time of the finished event."""
    events = [sent(1, "a"), sent(2, "b"), sent(3, "a")]
    ids = FINDER.ids_of(events)
    found = FINDER.find(events, ids, {ids[1]: events[0].enqueued_ms - 10_000})
    assert [each.sequence_number for each in found.known] == [1]
    assert found.behind == {}
    assert set(found.ids) == {2, 3}


@pytest.mark.parametrize("value", ["", None, True, ["a"], {"a": 1}])
def test_events_without_a_usable_id_are_no_copies(value: object) -> None:
    """A property that is empty for all events would otherwise skip all but the first."""
    assert copies_of(sent(1, value), sent(2, value)) == ([], {})


def test_event_without_the_property_is_no_copy() -> None:
    """The property is the producer's choice for each event."""
    assert copies_of(event(1), event(2)) == ([], {})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (sent(1, "a", "k"), sent(2, "a", "l")),
        (sent(1, "a", None), sent(2, "a", "None")),
        (sent(1, "1"), sent(2, 1)),
        (sent(1, "a"), sent(2, "A")),
        (sent(1, "a", enqueued_ms=0), sent(2, "a", enqueued_ms=10_001)),
    ],
)
def test_different_events_are_no_copies(one: Event, other: Event) -> None:
    """Another key, another type of value, another text, or a time outside of the window."""
    assert copies_of(one, other) == ([], {})


def test_event_after_the_window_has_copies_of_its_own() -> None:
    """The window begins with the event that is handled, and copies do not extend it."""
    times = {1: 0, 2: 9_000, 3: 10_001, 4: 20_000}
    events = [sent(number, "a", enqueued_ms=ms) for number, ms in times.items()]
    assert copies_of(*events) == ([], {1: [2], 3: [4]})


def test_clock_of_the_broker_may_step_back() -> None:
    """A copy with an earlier time is a copy."""
    assert copies_of(sent(1, "a", enqueued_ms=5_000), sent(2, "a", enqueued_ms=0)) == ([], {1: [2]})
