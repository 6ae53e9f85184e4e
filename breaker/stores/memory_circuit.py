"""The state and the counters of one circuit in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict

from breaker.alerts.base import STATE_EVENTS
from breaker.clock import NowUs
from breaker.notes import Report
from breaker.registration import Poller
from breaker.settings import check_circuit_name
from breaker.state import (
    SUCCESS_BUCKETS,
    SUCCESS_REPORTS,
    Change,
    Circuit,
    CircuitEvent,
    CircuitState,
    Permit,
    Rules,
)
from breaker.stores.base import Admission
from breaker.stores.memory_instances import MemoryInstances
from breaker.stores.memory_probes import MemoryProbes
from breaker.stores.memory_standstill import MemoryStandstill
from breaker.transitions import (
    Record,
    closed,
    half_opened,
    isolated,
    opened,
    probes_failed,
    record_of,
    snapshot,
    timer_is_due,
    tripped,
)
from breaker.window import RollingWindow

RESTORED_ALERTS = frozenset({CircuitEvent.OPENED, CircuitEvent.ISOLATED})
"""Alerts that are added again when a lost state is restored."""


class MemoryCircuit(ABC):
    """The operations of a `CircuitStore` that change the state; a subclass records the changes.

    Each operation runs without an await, so it is as atomic as a Redis script.

    Args:
        name: name of the circuit.
        now_us: the store's clock, microseconds since the epoch.
        instances: the registered instances; of a dependency's circuit, those of the app.
    """

    def __init__(self, name: str, now_us: NowUs, instances: MemoryInstances | None = None) -> None:
        self._name = check_circuit_name(name)
        self._now_us = now_us
        self._record = Record()
        self._window = RollingWindow()
        self._buckets: dict[int, int] = {}
        self._reports: OrderedDict[str, int] = OrderedDict()
        self._probes = MemoryProbes()
        self._standstill = MemoryStandstill()
        self._ruled_us = 0  # in mode observe: when a rule was met the last time
        self._would_open = ""
        self._instances = MemoryInstances() if instances is None else instances

    @property
    def name(self) -> str:
        """The circuit's name."""
        return self._name

    async def snapshot(self, rules: Rules) -> Change:
        """See `CircuitStore.snapshot`."""
        now, moved = self._begin(rules)
        self._register(rules, now)
        moved += self._judge_standstill(rules, now)
        return self._change(rules, now, moved)

    async def report(self, rules: Rules, report: Report) -> Change:
        """See `CircuitStore.report`."""
        now, moved = self._begin(rules)
        self._register(rules, now)
        closed_in = self._record.generation if self._record.state is CircuitState.CLOSED else None
        self._standstill.note(rules, now, report, closed_in)
        moved += self._judge_standstill(rules, now)
        return self._change(rules, now, moved)

    async def record_failure(
        self, rules: Rules, failure_id: str, error: str, permit: Permit
    ) -> Change:
        """See `CircuitStore.record_failure`."""
        now, moved = self._begin(rules)
        record = self._record
        probing = record.state is CircuitState.HALF_OPEN and permit.probe_id is not None
        if permit.generation != record.generation or not (
            probing or record.state is CircuitState.CLOSED
        ):
            return self._change(rules, now, moved, "ignored")
        after = now - rules.window_us
        self._window.trim(after)
        self._window.add(failure_id, now, error)
        self._window.limit(rules.failure_threshold)
        if probing:
            reason = probes_failed(error) if self._probes.fail(now, permit) else None
        else:
            reason = tripped(len(self._window), self._successes(rules, now), rules, error)
        if reason is not None:
            moved += self._open(rules, now, reason)
        else:
            moved += self._judge_standstill(rules, now)
        return self._change(rules, now, moved)

    async def record_successes(
        self, rules: Rules, report_id: str, count: int, permit: Permit
    ) -> Change:
        """See `CircuitStore.record_successes`."""
        now, moved = self._begin(rules)
        record = self._record
        if permit.generation != record.generation:
            return self._change(rules, now, moved, "ignored")
        if record.state is CircuitState.HALF_OPEN and permit.probe_id is not None:
            self._probes.succeed(permit.probe_id, permit.key)
            if self._probes.successes >= rules.half_open_permits:
                reason = f"{self._probes.successes} probes succeeded"
                self._close(rules, now, reason, "")
                moved += 1
            return self._change(rules, now, moved)
        if record.state is CircuitState.CLOSED and rules.failure_ratio > 0:
            self._add_successes(rules, now, report_id, count)
            return self._change(rules, now, moved)
        return self._change(rules, now, moved, "ignored")

    def _add_successes(self, rules: Rules, now: int, report_id: str, count: int) -> None:
        after = now - rules.window_us
        reports = self._reports
        if reports.get(report_id, after) > after:
            return
        reports[report_id] = now
        reports.move_to_end(report_id)
        while len(reports) > SUCCESS_REPORTS or next(iter(reports.values())) <= after:
            reports.popitem(last=False)
        bucket = now // rules.bucket_us
        self._buckets[bucket] = self._buckets.get(bucket, 0) + count
        # Old buckets are kept up to the limit, so that they still count if the clock is set back.
        if len(self._buckets) > SUCCESS_BUCKETS:
            oldest = after // rules.bucket_us
            self._buckets = {b: n for b, n in self._buckets.items() if b > oldest}

    async def acquire(self, rules: Rules, probe_id: str, key: str = "") -> Admission:
        """See `CircuitStore.acquire`."""
        now, moved = self._begin(rules)
        state = self._record.state
        if state is not CircuitState.HALF_OPEN:
            change = self._change(rules, now, moved)
            return Admission(change, granted=state is CircuitState.CLOSED)
        granted, wait_us = self._probes.acquire(rules, now, probe_id, key)
        wait = None if wait_us is None else wait_us / 1_000_000
        return Admission(self._change(rules, now, moved), granted, wait)

    async def release(self, rules: Rules, permit: Permit) -> Change:
        """See `CircuitStore.release`."""
        now, moved = self._begin(rules)
        if permit.generation == self._record.generation and permit.probe_id is not None:
            self._probes.release(permit.probe_id)
        return self._change(rules, now, moved)

    async def approve(self, rules: Rules, generation: int, by: str) -> Change:
        """See `CircuitStore.approve`."""
        now, moved = self._begin(rules)
        record = self._record
        if generation != record.generation or generation == 0:
            return self._change(rules, now, moved, "stale")
        if record.state is CircuitState.ISOLATED:
            return self._change(rules, now, moved, "isolated")
        if record.state is not CircuitState.OPEN:
            return self._change(rules, now, moved, "already")
        self._note(rules, now, CircuitEvent.APPROVED, by=by, reason="")
        reason = f"approved by {by}"
        self._move(rules, now, half_opened(record, now, reason, by), CircuitEvent.HALF_OPENED)
        return self._change(rules, now, moved + 1)

    async def close(self, rules: Rules, generation: int, by: str, reason: str) -> Change:
        """See `CircuitStore.close`."""
        now, moved = self._begin(rules)
        record = self._record
        if generation != record.generation:
            return self._change(rules, now, moved, "stale")
        if record.state is CircuitState.CLOSED:
            return self._change(rules, now, moved, "already")
        self._close(rules, now, reason, by)
        return self._change(rules, now, moved + 1)

    async def isolate(self, rules: Rules, by: str, reason: str, seconds: float = 0.0) -> Change:
        """See `CircuitStore.isolate`."""
        now, moved = self._begin(rules)
        record, length_us = self._record, round(seconds * 1_000_000)
        isolated_already = record.state is CircuitState.ISOLATED
        if isolated_already and not length_us and not record.resume_at_us:
            return self._change(rules, now, moved, "already")
        record = isolated(record, rules, now, length_us, reason=reason, by=by)
        self._move(rules, now, record, CircuitEvent.ISOLATED)
        return self._change(rules, now, moved + 1)

    async def restore(self, rules: Rules, known: Circuit) -> Change:
        """See `CircuitStore.restore`."""
        now, moved = self._begin(rules)
        if known.position <= self._record.position:
            return self._change(rules, now, moved, "ignored")
        if known.state is CircuitState.CLOSED and self._record.state is not CircuitState.CLOSED:
            self._empty()  # the lost transition to CLOSED had emptied the window
        self._move(rules, now, record_of(known, rules), STATE_EVENTS[known.state], restored=True)
        return self._change(rules, now, moved + 1)

    def _register(self, rules: Rules, now: int) -> None:
        if rules.registration:
            self._instances.note(now, Poller(rules.instance, rules.registration))

    def _begin(self, rules: Rules) -> tuple[int, int]:
        """Make the timer's transition if that is due; return the time and the transitions made."""
        now, record = self._now_us(), self._record
        if not timer_is_due(record, now):
            return now, 0
        over = f"the isolation by {record.by} is over"
        if record.state is not CircuitState.ISOLATED:
            after = half_opened(record, now, "the break is over", "timer")
            self._move(rules, now, after, CircuitEvent.HALF_OPENED)
        elif record.ends_as is CircuitState.CLOSED:
            self._close(rules, now, over, "timer")
        else:
            reason = f"{over}, and the circuit was not closed before the isolation"
            self._move(rules, now, opened(record, rules, now, reason), CircuitEvent.OPENED)
        return now, 1

    def _open(self, rules: Rules, now: int, reason: str) -> int:
        """Open the circuit because of a rule, and return the number of transitions made.

        In mode observe the circuit stays as it is, and the reason is reported once, until no rule
        has been met for as long as the window.
        """
        if not rules.observe:
            self._move(rules, now, opened(self._record, rules, now, reason), CircuitEvent.OPENED)
            return 1
        last, self._ruled_us = self._ruled_us, now
        if now - last >= rules.window_us:
            self._would_open = reason
            self._note(rules, now, CircuitEvent.WOULD_OPEN, by="", reason=reason)
        return 0

    def _empty(self) -> None:
        """Empty the window, so that old failures cannot open the circuit again."""
        self._window.clear()
        self._buckets.clear()

    def _judge_standstill(self, rules: Rules, now: int) -> int:
        """Open the circuit if the standstill rule is met; return the transitions made."""
        if self._record.state is not CircuitState.CLOSED:
            return 0
        reason = self._standstill.judge(rules, now, self._record.generation)
        if reason is None:
            return 0
        return self._open(rules, now, reason)

    def _close(self, rules: Rules, now: int, reason: str, by: str) -> None:
        self._empty()
        self._move(rules, now, closed(self._record, now, reason, by), CircuitEvent.CLOSED)

    def _move(
        self,
        rules: Rules,
        now: int,
        record: Record,
        event: CircuitEvent,
        *,
        restored: bool = False,
    ) -> None:
        """Set the new state and announce it."""
        self._record = record
        self._probes = MemoryProbes()
        if record.state is CircuitState.CLOSED:
            self._standstill.reset(now)
        # A lost state's alert may be lost too, so it is added again; the same id marks a repeat.
        alert = not restored or event in RESTORED_ALERTS
        self._announce(rules, now, event, restored=restored, alert=alert)

    @abstractmethod
    def _announce(
        self, rules: Rules, now: int, event: CircuitEvent, *, restored: bool, alert: bool
    ) -> None:
        """Add a new state to the history and, with its alert, to the outbox; push it."""

    @abstractmethod
    def _note(self, rules: Rules, now: int, event: CircuitEvent, *, by: str, reason: str) -> None:
        """Add an entry to the history."""

    def _successes(self, rules: Rules, now: int) -> int:
        oldest = (now - rules.window_us) // rules.bucket_us
        return sum(count for bucket, count in self._buckets.items() if bucket > oldest)

    def _circuit(self, rules: Rules, now: int) -> Circuit:
        return snapshot(
            self._name,
            self._record,
            rules,
            now,
            failures=self._window.count(now - rules.window_us),
            successes=self._successes(rules, now),
            probe_successes=self._probes.successes,
            probe_failures=self._probes.failures,
            failed_attempts=self._standstill.failed_attempts(self._record.generation),
            success_us=self._standstill.success_us,
        )

    def _change(self, rules: Rules, now: int, moved: int, outcome: str = "done") -> Change:
        would_open, self._would_open = self._would_open, ""
        return Change(self._circuit(rules, now), moved, outcome, would_open)
