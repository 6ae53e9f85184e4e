"""Gauges of the partitions' first unfinished events and of their deferred keys.

| instrument | kind | meaning |
|---|---|---|
| processing.oldest_unfinished_seconds | gauge, s | age of the first unfinished event, see below |
| processing.deferred_keys | gauge | deferred keys, by `partition` |
| processing.deferred_events | gauge | events in parked lists, by `partition` |
| processing.events_expired_pending | gauge | expired events that no batch has met, by `partition` |
| processing.replays_stopped | gauge | 1: deferred keys wait, and their timer does not run |

`processing.oldest_unfinished_seconds` is the time for which the first unfinished event, or a
deferred key, has not changed; 0: no event is unfinished. Its attributes are `partition` and
`state`. The timer counts as stopped after a minute.

The instance whose turn it is to survey the fleet reports all partitions. Every instance reports its
own partitions that are not `ok`, so that the alarm fires without Redis, too.

With declared pipelines, all of them have the attribute `pipeline`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Protocol

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from processing.monitoring.partition_state import PartitionState, State
from processing.partitions.lag import PartitionLag


class Seen(Protocol):
    """The source of the gauges' values; the exporter reads the values in a thread of its own."""

    @property
    def states(self) -> tuple[PartitionState, ...]:
        """The states that this instance reports."""
        ...

    @property
    def partitions(self) -> tuple[PartitionLag, ...]:
        """The partitions that this instance surveys; empty if another instance does."""
        ...

    @property
    def replays_stopped(self) -> bool | None:
        """True if the timer of the replays should run and does not; None: not surveyed."""
        ...


_SOURCES: weakref.WeakKeyDictionary[metrics.Meter, weakref.WeakKeyDictionary[Seen, str]] = (
    weakref.WeakKeyDictionary()
)
"""The sources of each meter's gauges, with the names of their pipelines."""


def create_gauges(seen: Seen, meter: metrics.Meter | None = None, pipeline: str = "") -> None:
    """Create the gauges; a meter offers no way to remove them, so they end with `seen`.

    Args:
        seen: the source of the values.
        meter: None: the process's global meter.
        pipeline: the name of a declared pipeline, which becomes the attribute `pipeline`; "" for
            the only one of an app.
    """
    meter = meter or metrics.get_meter("processing")
    if meter in _SOURCES:
        _SOURCES[meter][seen] = pipeline
        return  # a meter takes each name once
    sources = _SOURCES[meter] = weakref.WeakKeyDictionary({seen: pipeline})

    def gauge(
        name: str, unit: str, description: str, read: Callable[[Seen], Iterable[Observation]]
    ) -> None:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            return [
                Observation(each.value, {**(each.attributes or {}), **_of(name)})
                for source, name in list(sources.items())
                for each in read(source)
            ]

        meter.create_observable_gauge(name, [observe], unit=unit, description=description)

    gauge("processing.oldest_unfinished_seconds", "s", "age of the first unfinished event", _ages)
    gauge("processing.deferred_keys", "1", "deferred keys", _deferred_keys)
    gauge("processing.deferred_events", "1", "events in parked lists", _events)
    gauge("processing.events_expired_pending", "1", "expired events", _expired)
    gauge("processing.replays_stopped", "1", "1 while the timer does not run", _replays)


def _of(pipeline: str) -> dict[str, str]:
    return {"pipeline": pipeline} if pipeline else {}


def _ages(seen: Seen) -> list[Observation]:
    states = [each for each in seen.states if each.state is not State.OK]
    found = [
        Observation(each.seconds, {"partition": each.partition, "state": each.state.value})
        for each in states
    ]
    known = {each.partition for each in states}
    found += [
        Observation(0, {"partition": each.partition, "state": State.OK.value})
        for each in seen.partitions
        if each.partition not in known
    ]
    return found


def _deferred_keys(seen: Seen) -> list[Observation]:
    return [Observation(each.deferred, {"partition": each.partition}) for each in seen.partitions]


def _events(seen: Seen) -> list[Observation]:
    return [Observation(each.parked, {"partition": each.partition}) for each in seen.partitions]


def _expired(seen: Seen) -> list[Observation]:
    return [Observation(each.expired, {"partition": each.partition}) for each in seen.partitions]


def _replays(seen: Seen) -> list[Observation]:
    stopped = seen.replays_stopped
    return [] if stopped is None else [Observation(int(stopped))]
