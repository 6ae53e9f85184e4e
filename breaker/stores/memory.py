"""A store in this process: for tests, for one instance alone, and for when Redis is away."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from breaker.alerts.base import STATE_EVENTS, Alert, AlertBatch, OutboxStatus, alert_of
from breaker.clock import NowUs, system_now_us
from breaker.settings import check_name
from breaker.state import (
    Change,
    Circuit,
    CircuitEvent,
    CircuitState,
    HistoryEntry,
    Permit,
    Rules,
)
from breaker.stores.base import Admission, Callback
from breaker.stores.memory_callbacks import MemoryCallbacks
from breaker.stores.memory_outbox import MemoryOutbox
from breaker.transitions import (
    Record,
    break_is_over,
    closed,
    half_opened,
    isolated,
    opened,
    record_of,
    snapshot,
    tripped,
)
from breaker.window import RollingWindow


class MemoryCircuitStore:
    """Keeps one circuit in this process; several breakers may share it within one event loop.

    Each operation runs without an await, so it is as atomic as a script on Redis.

    Args:
        name: the circuit.
        now_us: the store's clock, microseconds since the epoch.
        outbox: where alerts go on waiting from an earlier store; default a new one.
    """

    def __init__(
        self,
        name: str = "breakwater",
        *,
        now_us: NowUs = system_now_us,
        outbox: MemoryOutbox | None = None,
    ) -> None:
        self._name = check_name(name)
        self._now_us = now_us
        self._record = Record()
        self._window = RollingWindow()
        self._buckets: dict[int, int] = {}
        self._probes: dict[str, int] = {}
        self._probed: set[str] = set()
        self._history: deque[HistoryEntry] = deque()
        self._outbox = outbox or MemoryOutbox()
        self._callbacks = MemoryCallbacks()
        self._watchers: set[asyncio.Queue[Circuit | None]] = set()

    @property
    def name(self) -> str:
        """The circuit's name."""
        return self._name

    async def snapshot(self, rules: Rules) -> Change:
        """See `CircuitStore.snapshot`."""
        now, moved = self._begin(rules)
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
        if probing:
            self._window.limit(rules.failure_threshold)
            reason: str | None = f"probe failed: {error}"
        else:
            reason = tripped(len(self._window), self._successes(rules, now), rules, error)
        if reason is not None:
            next_record = opened(record, rules, now, reason)
            self._move(rules, now, next_record, CircuitEvent.OPENED)
            moved += 1
        return self._change(rules, now, moved)

    async def record_successes(self, rules: Rules, count: int, permit: Permit) -> Change:
        """See `CircuitStore.record_successes`."""
        now, moved = self._begin(rules)
        record = self._record
        if permit.generation != record.generation:
            return self._change(rules, now, moved, "ignored")
        if record.state is CircuitState.HALF_OPEN and permit.probe_id is not None:
            self._probes.pop(permit.probe_id, None)
            self._probed.add(permit.probe_id)
            if len(self._probed) >= rules.half_open_permits:
                reason = f"{len(self._probed)} probes succeeded"
                self._close(rules, now, reason, "")
                moved += 1
            return self._change(rules, now, moved)
        if record.state is CircuitState.CLOSED and rules.failure_ratio > 0:
            bucket = now // rules.bucket_us
            self._buckets[bucket] = self._buckets.get(bucket, 0) + count
            oldest = (now - rules.window_us) // rules.bucket_us
            self._buckets = {b: n for b, n in self._buckets.items() if b > oldest}
            return self._change(rules, now, moved)
        return self._change(rules, now, moved, "ignored")

    async def acquire(self, rules: Rules, probe_id: str) -> Admission:
        """See `CircuitStore.acquire`."""
        now, moved = self._begin(rules)
        state = self._record.state
        if state is not CircuitState.HALF_OPEN:
            change = self._change(rules, now, moved)
            return Admission(change, granted=state is CircuitState.CLOSED)
        self._probes = {probe: until for probe, until in self._probes.items() if until > now}
        free = len(self._probes) + len(self._probed) < rules.half_open_permits
        granted = free or probe_id in self._probes
        wait = None
        if granted:
            self._probes[probe_id] = now + rules.permit_us
        elif self._probes:
            wait = (min(self._probes.values()) - now) / 1_000_000
        return Admission(self._change(rules, now, moved), granted, wait)

    async def release(self, rules: Rules, permit: Permit) -> Change:
        """See `CircuitStore.release`."""
        now, moved = self._begin(rules)
        if permit.generation == self._record.generation and permit.probe_id is not None:
            self._probes.pop(permit.probe_id, None)
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

    async def isolate(self, rules: Rules, by: str, reason: str) -> Change:
        """See `CircuitStore.isolate`."""
        now, moved = self._begin(rules)
        record = self._record
        if record.state is CircuitState.ISOLATED:
            return self._change(rules, now, moved, "already")
        self._move(rules, now, isolated(record, now, reason, by), CircuitEvent.ISOLATED)
        return self._change(rules, now, moved + 1)

    async def restore(self, rules: Rules, known: Circuit) -> Change:
        """See `CircuitStore.restore`."""
        now, moved = self._begin(rules)
        if known.position <= self._record.position:
            return self._change(rules, now, moved, "ignored")
        if known.state is CircuitState.CLOSED and self._record.state is not CircuitState.CLOSED:
            self._empty()  # the closing that was lost did so
        self._move(rules, now, record_of(known, rules), STATE_EVENTS[known.state], restored=True)
        return self._change(rules, now, moved + 1)

    async def history(self, limit: int) -> list[HistoryEntry]:
        """See `CircuitStore.history`."""
        return list(self._history)[-limit:][::-1]

    async def changes(self, rules: Rules) -> AsyncGenerator[Circuit | None]:
        """See `CircuitStore.changes`."""
        queue: asyncio.Queue[Circuit | None] = asyncio.Queue()
        queue.put_nowait(None)
        self._watchers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._watchers.discard(queue)

    async def claim_alerts(
        self, rules: Rules, token: str, lease_seconds: float, limit: int
    ) -> AlertBatch:
        """See `CircuitStore.claim_alerts`."""
        now, _ = self._begin(rules)
        return self._outbox.claim(now, token, lease_seconds, limit)

    async def settle_alert(
        self, rules: Rules, token: str, entry: str, lease_seconds: float
    ) -> None:
        """See `CircuitStore.settle_alert`."""
        now, _ = self._begin(rules)
        self._outbox.settle(now, token, entry, lease_seconds)

    async def release_alerts(self, rules: Rules, token: str) -> None:
        """See `CircuitStore.release_alerts`."""
        self._outbox.release(token)

    async def outbox(self, rules: Rules) -> OutboxStatus:
        """See `CircuitStore.outbox`."""
        now, _ = self._begin(rules)
        return self._outbox.status(now)

    async def register_callback(self, rules: Rules, generation: int, url: str) -> bool:
        """See `CircuitStore.register_callback`."""
        return self._callbacks.register(generation, url)

    async def claim_callbacks(self, rules: Rules, lease_seconds: float) -> list[Callback]:
        """See `CircuitStore.claim_callbacks`."""
        now, _ = self._begin(rules)
        passed = self._record.generation
        if self._record.state in {CircuitState.OPEN, CircuitState.ISOLATED}:
            passed -= 1
        return self._callbacks.claim(now, passed, lease_seconds)

    async def settle_callback(self, rules: Rules, callback: Callback) -> None:
        """See `CircuitStore.settle_callback`."""
        self._callbacks.settle(callback)

    async def postpone_callback(
        self, rules: Rules, callback: Callback, delay_seconds: float
    ) -> None:
        """See `CircuitStore.postpone_callback`."""
        now, _ = self._begin(rules)
        self._callbacks.postpone(now, callback, delay_seconds)

    async def aclose(self) -> None:
        """Nothing was opened."""

    def adopt(self, rules: Rules, known: Circuit) -> None:
        """Start from a state that was announced elsewhere: no history, no alert, no push."""
        self._record = record_of(known, rules)

    def failure_ids(self, rules: Rules) -> list[str]:
        """The failures inside the window, oldest first."""
        self._window.trim(self._now_us() - rules.window_us)
        return [failure_id for _, failure_id in self._window.failures()]

    def undelivered(self) -> list[Alert]:
        """The outbox, oldest first."""
        return self._outbox.alerts()

    def _begin(self, rules: Rules) -> tuple[int, int]:
        """The time, and how many transitions the timer has just made."""
        now = self._now_us()
        if not break_is_over(self._record, now):
            return now, 0
        record = half_opened(self._record, now, "the break is over", "timer")
        self._move(rules, now, record, CircuitEvent.HALF_OPENED)
        return now, 1

    def _empty(self) -> None:
        """Forget the window, so that old failures cannot open the circuit again."""
        self._window.clear()
        self._buckets.clear()

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
        """Take the new state with its history entry, its alert and its push."""
        self._record = record
        self._probes.clear()
        self._probed.clear()
        reason = f"restored: {record.reason}" if restored else record.reason
        self._note(rules, now, event, by=record.by, reason=reason)
        circuit = self._circuit(rules, now)
        if not restored or event in {CircuitEvent.OPENED, CircuitEvent.ISOLATED}:
            alert = alert_of(
                self._name,
                event,
                record.generation,
                record.changed_at_us,
                failures=circuit.failures,
                successes=circuit.successes,
                failure_threshold=rules.failure_threshold,
                window_us=rules.window_us,
                errors=self._window.samples(now - rules.window_us),
                reason=record.reason,
                by=record.by,
                instance=rules.instance,
            )
            self._outbox.add(alert, rules.outbox_limit)
        for queue in self._watchers:
            queue.put_nowait(circuit)

    def _note(self, rules: Rules, now: int, event: CircuitEvent, *, by: str, reason: str) -> None:
        self._history.append(
            HistoryEntry(
                event=event,
                generation=self._record.generation,
                by=by,
                at=now / 1_000_000,
                reason=reason,
                instance=rules.instance,
            )
        )
        while len(self._history) > rules.history_limit:
            self._history.popleft()

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
            probe_successes=len(self._probed),
        )

    def _change(self, rules: Rules, now: int, moved: int, outcome: str = "done") -> Change:
        return Change(self._circuit(rules, now), moved, outcome)
