"""The share of a minute's events that an open circuit refuses."""

from __future__ import annotations

from processing.batch.budget import RefusedShare
from processing.event import Event
from tests.support.processing.events import event


def events(first: int, count: int) -> list[Event]:
    return [event(number) for number in range(first, first + count)]


def share_at_its_limit() -> RefusedShare:
    share = RefusedShare(lambda: 0.0)
    share.note_events(events(0, 100))
    assert share.take(100) == 80
    return share


def test_batch_that_follows_does_not_raise_the_limit() -> None:
    """Nobody knows yet what its events need; else four fifths of each batch would be deferred."""
    share = share_at_its_limit()
    share.note_refused(20)
    share.note_events(events(100, 1_000))
    assert share.take(1_000) == 0


def test_batch_that_is_over_raises_the_limit() -> None:
    share = share_at_its_limit()
    share.note_events(events(100, 100))
    share.note_events(events(200, 100))
    assert share.take(1_000) == 160


def test_batch_that_comes_again_with_more_events_does_not_raise_the_limit() -> None:
    share = share_at_its_limit()
    share.note_events(events(100, 100))
    share.note_events(events(100, 200))
    assert share.take(100) == 0
    share.note_events(events(300, 100))
    assert share.take(1_000) == 240
