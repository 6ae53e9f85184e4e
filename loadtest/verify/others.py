"""The check that the outage of one dependency does not delay the keys that do not need it.

An event is *late* if more than the expectation's `most_late_seconds` pass between its enqueueing
and its entry in the ledger. An event of a killed host's partition waits for a new owner, and says
nothing about the dependency. The check leaves out each event that was waiting when a host was
killed, or was enqueued within TAKEOVER_US after that.
"""

from __future__ import annotations

from loadtest.verify.circuit_check import openings_of
from loadtest.verify.evidence import Evidence, LedgerEntry
from loadtest.verify.metrics import percentile
from loadtest.verify.verdict import Diff, OthersVerdict

TAKEOVER_US = 12_000_000
"""The longest time from the death of a host until its partitions' events are handled in time."""
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
        self._during: list[float] = []
        self._while_open = 0
        self._late = 0

    def handled(self, key: str, entry: LedgerEntry) -> None:
        """Record a handled event."""
        if self._since_us is None or self._needs_it(key, entry.counter):
            return
        took_ms = entry.appended_us / 1000 - entry.enqueued_ms
        if entry.appended_us < self._since_us:
            self._before.append(took_ms)
        if entry.enqueued_ms * 1000 < self._since_us or self._is_disturbed(entry):
            return
        self._during.append(took_ms)
        self._while_open += any(each.forbids(entry.appended_us) for each in self._openings)
        if self._limit is not None and took_ms > self._limit * 1000:
            self._late += 1
            self._diff.add("late", f"{key} #{entry.counter} after {took_ms / 1000:.1f} s")

    def _needs_it(self, key: str, counter: int) -> bool:
        index = self._indices.get(key)
        return index is None or self._workload.needs(index, counter) == self._workload.away

    def _is_disturbed(self, entry: LedgerEntry) -> bool:
        enqueued_us = entry.enqueued_ms * 1000
        return any(
            at_us < entry.appended_us and enqueued_us < at_us + TAKEOVER_US
            for at_us in self._killed_us
        )

    def verdict(self) -> OthersVerdict | None:
        """Return the figures; None unless a dependency was away."""
        if not self._workload.away:
            return None
        during, before = sorted(self._during), sorted(self._before)
        return OthersVerdict(
            judged=len(during),
            while_open=self._while_open,
            late=self._late,
            longest_ms=during[-1] if during else None,
            p99_ms=percentile(during, 99),
            before_p99_ms=percentile(before, 99),
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
