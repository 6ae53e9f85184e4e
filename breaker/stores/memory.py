"""A circuit store in this process, for tests, for a single instance and for Redis outages."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from breaker.alerts.base import Alert, AlertBatch, OutboxStatus, alert_of
from breaker.clock import NowUs, system_now_us
from breaker.state import Circuit, CircuitEvent, CircuitState, HistoryEntry, Rules
from breaker.stores.base import Callback
from breaker.stores.memory_callbacks import MemoryCallbacks
from breaker.stores.memory_circuit import MemoryCircuit
from breaker.stores.memory_outbox import MemoryOutbox
from breaker.transitions import record_of


class MemoryCircuitStore(MemoryCircuit):
    """A store of one circuit in memory; several breakers of one event loop may share it.

    Args:
        name: name of the circuit.
        now_us: the store's clock, microseconds since the epoch.
        outbox: the outbox, with undelivered alerts of an earlier store; default an empty outbox.
    """

    def __init__(
        self,
        name: str = "breakwater",
        *,
        now_us: NowUs = system_now_us,
        outbox: MemoryOutbox | None = None,
    ) -> None:
        super().__init__(name, now_us)
        self._history: deque[HistoryEntry] = deque()
        self._outbox = outbox or MemoryOutbox()
        self._callbacks = MemoryCallbacks()
        self._watchers: set[asyncio.Queue[Circuit | None]] = set()

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
        """Do nothing: this store opens nothing."""

    def adopt(self, rules: Rules, known: Circuit) -> None:
        """Take over the shared store's state, without history, alert or push."""
        self._record = record_of(known, rules)

    def failure_ids(self, rules: Rules) -> list[str]:
        """Return the ids of the failures inside the window, oldest first."""
        self._window.trim(self._now_us() - rules.window_us)
        return [failure_id for _, failure_id in self._window.failures()]

    def undelivered(self) -> list[Alert]:
        """Return the undelivered alerts, oldest first."""
        return self._outbox.alerts()

    def _announce(self, rules: Rules, now: int, event: CircuitEvent, *, restored: bool) -> None:
        record = self._record
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
