"""The fleet's view of the partitions: the states that instances report, and the watermarks' ages.

A report expires when its instance stops repeating the report. The ages of the watermarks survive
the instances, so that a crash loop is seen: each new process finds the age of the unchanged
watermark.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from processing.monitoring.partition_state import PartitionState

REPORT_SECONDS = 5.0
"""Interval between two reports of an instance, and between two surveys."""
OLD_SECONDS = 20.0
"""Age at which a report, or the turn to survey, expires."""
GAP_SECONDS = 60.0
"""Time without a survey after which the age of a watermark starts again: the app was stopped."""


class FleetStates(Protocol):
    """A store of the fleet's view.

    Each method raises `StorageUnavailableError` if the store does not answer.
    """

    async def report(self, instance: str, states: Sequence[PartitionState]) -> None:
        """Replace the states that an instance reports."""
        ...

    async def reports(self) -> list[PartitionState]:
        """Return the reported states that are not old, each with its instance and present age."""
        ...

    async def observe(self, watermarks: Mapping[str, int | None]) -> Mapping[str, float]:
        """Return for how many seconds each watermark has not changed.

        Args:
            watermarks: the watermark of each partition that has unfinished events; None: no event
                of the partition is finished. The ages of all other partitions are deleted.
        """
        ...

    async def take_turn(self, instance: str) -> bool:
        """Return whether this instance surveys the partitions for the fleet now."""
        ...


class MemoryFleetStates:
    """A store of the fleet's view in this process; see `FleetStates`.

    Args:
        clock: returns seconds that never decrease.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reports: dict[str, tuple[float, Sequence[PartitionState]]] = {}
        self._watermarks: dict[str, tuple[int | None, float, float]] = {}
        self._turn: tuple[str, float] = ("", 0.0)

    async def report(self, instance: str, states: Sequence[PartitionState]) -> None:
        """See `FleetStates.report`."""
        self._reports[instance] = (self._clock(), tuple(states))

    async def reports(self) -> list[PartitionState]:
        """See `FleetStates.reports`."""
        now = self._clock()
        return [
            aged(state, instance, now - at)
            for instance, (at, states) in self._reports.items()
            if now - at <= OLD_SECONDS
            for state in states
        ]

    async def observe(self, watermarks: Mapping[str, int | None]) -> Mapping[str, float]:
        """See `FleetStates.observe`."""
        now, notes = self._clock(), self._watermarks
        self._watermarks = {}
        for partition, watermark in watermarks.items():
            known, since, seen = notes.get(partition, (None, now, now))
            if known != watermark or now - seen > GAP_SECONDS:
                since = now
            self._watermarks[partition] = (watermark, since, now)
        return {each: now - since for each, (_, since, _) in self._watermarks.items()}

    async def take_turn(self, instance: str) -> bool:
        """See `FleetStates.take_turn`."""
        now, (holder, until) = self._clock(), self._turn
        if holder != instance and now < until:
            return False
        self._turn = (instance, now + OLD_SECONDS)
        return True


def aged(state: PartitionState, instance: str, seconds: float) -> PartitionState:
    """Return a reported state with its instance and its present age."""
    return replace(state, instance=instance, seconds=round(state.seconds + seconds, 1))


def states_to_json(states: Sequence[PartitionState]) -> str:
    """Return states as JSON; "" for none."""
    return json.dumps([each.to_json() for each in states]) if states else ""


def states_from_json(text: str | bytes) -> list[PartitionState]:
    """Parse states; states of a newer version that cannot be read are left out."""
    found = []
    try:
        states = list(json.loads(text))
    except (TypeError, ValueError):
        return []
    for each in states:
        try:
            found.append(PartitionState.from_json(each))
        except (AttributeError, TypeError, ValueError):
            continue
    return found
