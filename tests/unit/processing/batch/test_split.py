"""Splitting of a batch into lanes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from processing.batch.split import split_into_lanes
from processing.settings import KeylessOrder
from tests.support.processing.events import event

keys = st.lists(st.one_of(st.none(), st.sampled_from(["", "a", "b", "ключ", "0"])), max_size=40)


@given(keys, st.sampled_from(["partition", "none"]))
def test_each_event_is_in_one_lane_and_in_order(
    found: list[str | None], order: KeylessOrder
) -> None:
    """A lane has one key and rising sequence numbers."""
    events = [event(index, key) for index, key in enumerate(found)]
    lanes = split_into_lanes(events, order)
    assert sorted((e for lane in lanes for e in lane), key=lambda e: e.sequence_number) == events
    for lane in lanes:
        assert len({e.key for e in lane}) == 1
        assert [e.sequence_number for e in lane] == sorted(e.sequence_number for e in lane)
    with_key = [lane[0].key for lane in lanes if lane[0].key is not None]
    assert len(with_key) == len(set(with_key))
    starts = [lane[0].sequence_number for lane in lanes]
    assert starts == sorted(starts)


def test_keyless_events_share_a_lane_or_have_one_each() -> None:
    """The setting keyless_order decides."""
    events = [event(0, None), event(1, None), event(2, "")]
    assert [len(lane) for lane in split_into_lanes(events, "partition")] == [2, 1]
    assert [len(lane) for lane in split_into_lanes(events, "none")] == [1, 1, 1]
