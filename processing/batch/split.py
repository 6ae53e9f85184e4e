"""Splitting of a batch into lanes: events that must run one after another."""

from __future__ import annotations

from collections.abc import Iterable

from processing.event import Event
from processing.settings import KeylessOrder


def split_into_lanes(events: Iterable[Event], keyless_order: KeylessOrder) -> list[list[Event]]:
    """Split events into one lane per key, in the order of the given events.

    Events without a key form one common lane (`partition`) or one lane each (`none`). An empty
    key is a key. Lanes are sorted by their first event, so that the oldest event starts first.
    """
    lanes: dict[object, list[Event]] = {}
    for event in events:
        key: object = event.key
        if key is None and keyless_order == "none":
            key = event.sequence_number
        lane = lanes.get(key)
        if lane is None:
            lanes[key] = [event]
        else:
            lane.append(event)
    return list(lanes.values())
