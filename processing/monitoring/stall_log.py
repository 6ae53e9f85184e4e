"""Log lines about stalled partitions: one line a minute, and one line at the recovery."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from processing.monitoring.partition_state import PartitionState, State

logger = logging.getLogger(__name__)

EVERY_SECONDS = 60.0


class StallLog:
    """A writer of log lines, for each partition and for the deferred keys of each partition.

    Args:
        pipeline: the name of a declared pipeline, which begins each line; "" for an app's only one.
    """

    def __init__(self, pipeline: str = "") -> None:
        self._subject = f"Pipeline {pipeline}: " if pipeline else ""
        self._logged: dict[tuple[str, bool], float] = {}

    def write(self, states: Iterable[PartitionState], now: float) -> None:
        """Log the stalled partitions among all states of this moment, and those that recovered.

        Args:
            states: the states of all partitions that this instance reports.
            now: seconds that never decrease.
        """
        stalled = {
            (each.partition, each.deferred): each for each in states if each.state is State.STALLED
        }
        for name, state in stalled.items():
            if now - self._logged.get(name, -EVERY_SECONDS) >= EVERY_SECONDS:
                self._logged[name] = now
                logger.error("%s%s", self._subject, state.line)
        for name in self._logged.keys() - stalled.keys():
            del self._logged[name]
            partition, deferred = name
            subject = "its deferred keys" if deferred else "it"
            logger.info(
                "%sPartition %s is no longer stalled: %s continued",
                *(self._subject, partition, subject),
            )
