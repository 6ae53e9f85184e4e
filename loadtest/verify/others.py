"""The check that the outage of one dependency does not delay the keys that do not need it.

An event is *late* if more than the expectation's `most_late_seconds` pass between its enqueueing
and its entry in the ledger. An event of a killed host's partition waits for a new owner, and says
nothing about the dependency. The check leaves out each event that was waiting when a host was
killed, and each one of the time after that, until the partition has caught up: until an event that
was enqueued after the death is handled in time. How long a new owner needs to start depends on the
machine. A partition that has not caught up after MOST_TAKEOVER_US waits for something else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from loadtest.verify.circuit_check import openings_of
from loadtest.verify.evidence import Evidence, LedgerEntry
from loadtest.verify.metrics import percentile
from loadtest.verify.verdict import Diff, OthersVerdict

LEAST_TAKEOVER_US = 12_000_000
"""The time after the death of a host in which no event is judged, of whichever partition."""
MOST_TAKEOVER_US = 40_000_000
"""The longest time from the death of a host until its partitions have caught up."""
LEAST_WHILE_OPEN = 40
"""The least number of judged events during the opening, below which the run has tested nothing."""


class Others:
    """The check, which receives each key's handled events."""

    def __init__(self, evidence: Evidence, diff: Diff) -> None:
        workload = evidence.workload
        self._diff = diff
        self._killed_us = evidence.killed_us
        self._limit = evidence.expectation.most_late_seconds
        self._workload = workload
        self._indices = {key: index for index, key in enumerate(workload.key_names)}
        self._since_us = min((call.at_us for call in evidence.refused), default=None)
        circuit = evidence.dependencies.get(workload.away)
        self._openings = [] if circuit is None else openings_of(circuit.history)
        self._before: list[float] = []
        self._since: dict[str, list[tuple[LedgerEntry, str]]] = {}  # by partition

    def handled(self, key: str, entry: LedgerEntry) -> None:
        """Record a handled event."""
        if self._since_us is None or self._needs_it(key, entry.counter):
            return
        if entry.appended_us < self._since_us:
            self._before.append(_took_ms(entry))
        if entry.enqueued_ms * 1000 >= self._since_us:
            self._since.setdefault(entry.partition, []).append((entry, key))

    def _needs_it(self, key: str, counter: int) -> bool:
        index = self._indices.get(key)
        return index is None or self._workload.needs(index, counter) == self._workload.away

    def _judged(self) -> Iterator[tuple[LedgerEntry, str]]:
        """Yield the events that no death of a host has delayed, with their keys."""
        for events in self._since.values():
            ends = [(at_us, self._caught_up_us(at_us, events)) for at_us in self._killed_us]
            for entry, key in events:
                enqueued_us = entry.enqueued_ms * 1000
                if not any(at < entry.appended_us and enqueued_us < end for at, end in ends):
                    yield entry, key

    def _caught_up_us(self, killed_us: int, events: Sequence[tuple[LedgerEntry, str]]) -> int:
        """Return when a partition's events were handled in time again after a death."""
        limit_ms = math.inf if self._limit is None else self._limit * 1000
        in_time = (
            entry.appended_us
            for entry, _ in events
            if entry.enqueued_ms * 1000 > killed_us and _took_ms(entry) <= limit_ms
        )
        latest = killed_us + MOST_TAKEOVER_US
        caught_up_us = min(in_time, default=latest)
        return max(killed_us + LEAST_TAKEOVER_US, min(caught_up_us, latest))

    def verdict(self) -> OthersVerdict | None:
        """Return the figures; None unless a dependency was away."""
        if not self._workload.away:
            return None
        during: list[float] = []
        while_open = late = 0
        for entry, key in self._judged():
            took_ms = _took_ms(entry)
            during.append(took_ms)
            while_open += any(each.forbids(entry.appended_us) for each in self._openings)
            if self._limit is not None and took_ms > self._limit * 1000:
                late += 1
                self._diff.add("late", f"{key} #{entry.counter} after {took_ms / 1000:.1f} s")
        during.sort()
        return OthersVerdict(
            judged=len(during),
            while_open=while_open,
            late=late,
            longest_ms=during[-1] if during else None,
            p99_ms=percentile(during, 99),
            before_p99_ms=percentile(sorted(self._before), 99),
        )

    def broken(self, verdict: OthersVerdict | None) -> list[str]:
        """Return one line for each broken expectation."""
        if verdict is None:
            return []
        lines = []
        if self._limit is not None and verdict.late:
            lines.append(
                f"{verdict.late} events that do not need the dependency took more than "
                f"{self._limit:g} s"
            )
        if verdict.while_open < LEAST_WHILE_OPEN:
            lines.append(
                f"{verdict.while_open} events without need of the dependency were handled while "
                f"its circuit was open, expected at least {LEAST_WHILE_OPEN}"
            )
        return lines


def _took_ms(entry: LedgerEntry) -> float:
    return entry.appended_us / 1000 - entry.enqueued_ms
