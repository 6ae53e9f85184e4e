"""A circuit store in this process, for tests, for a single instance and for Redis outages."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable

from breaker.alerts.base import Alert, AlertBatch, OutboxStatus, alert_of
from breaker.chain import (
    ALERT_REPEATED,
    APPROVAL_REQUESTED,
    STEP_EVENTS,
    ChainStatus,
    Step,
    StepKind,
    WaitsFor,
    run_name,
)
from breaker.clock import NowUs, system_now_us
from breaker.kinds import kind_of
from breaker.names import split_name
from breaker.registration import Seen
from breaker.state import Circuit, CircuitEvent, CircuitState, HistoryEntry, Rules
from breaker.stores.base import Callback, Registration
from breaker.stores.memory_callbacks import MemoryCallbacks
from breaker.stores.memory_circuit import MemoryCircuit
from breaker.stores.memory_instances import MemoryInstances
from breaker.stores.memory_outbox import MemoryOutbox
from breaker.transitions import record_of


class MemoryCircuitStore(MemoryCircuit):
    """A store of one circuit in memory; several breakers of one event loop may share it.

    Args:
        name: name of the circuit.
        now_us: the store's clock, microseconds since the epoch.
        outbox: the outbox, with undelivered alerts of an earlier store; default an empty outbox.
        pushed: also called with each pushed state.
        instances: of a dependency's circuit, the registered instances of the app.
    """

    def __init__(
        self,
        name: str = "breakwater",
        *,
        now_us: NowUs = system_now_us,
        outbox: MemoryOutbox | None = None,
        pushed: Callable[[Circuit], None] = lambda _: None,
        instances: MemoryInstances | None = None,
    ) -> None:
        super().__init__(name, now_us, instances)
        self._history: deque[HistoryEntry] = deque()
        self._outbox = outbox or MemoryOutbox()
        self._pushed = pushed
        self._callbacks = MemoryCallbacks()
        self._steps: dict[StepKind, Step] = {}
        self._repeats: tuple[int, int, int] = (0, 0, 0)  # generation, number, microseconds
        self._watchers: set[asyncio.Queue[Circuit | None]] = set()

    async def history(self, limit: int) -> list[HistoryEntry]:
        """See `CircuitStore.history`."""
        return list(self._history)[-limit:][::-1]

    async def registered(self, rules: Rules) -> tuple[float, list[Seen]]:
        """See `CircuitStore.registered`."""
        now, _ = self._begin(rules)
        return self._instances.seen(now)

    async def names(self) -> frozenset[str]:
        """See `CircuitStore.names`."""
        app, _ = split_name(self._name)
        return frozenset({app} if self._instances.seen(self._now_us())[1] else ())

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

    async def register_callback(self, rules: Rules, registration: Registration) -> bool:
        """See `CircuitStore.register_callback`."""
        now, _ = self._begin(rules)
        first = not self._callbacks.has(registration.generation)
        if not self._callbacks.register(now, registration):
            return False
        asks = registration.waits_for is WaitsFor.APPROVAL
        if first and asks and registration.generation > self._passed():
            by = run_name(registration.run)
            self._add_history(rules, APPROVAL_REQUESTED, registration.generation, by=by, at_us=now)
        return True

    async def claim_callbacks(self, rules: Rules, lease_seconds: float) -> list[Callback]:
        """See `CircuitStore.claim_callbacks`."""
        now, _ = self._begin(rules)
        is_open = self._record.state is CircuitState.OPEN
        superseded = self._record.generation - 1 if is_open else 0
        return self._callbacks.claim(now, self._passed(), superseded, lease_seconds)

    async def settle_callback(self, rules: Rules, callback: Callback) -> None:
        """See `CircuitStore.settle_callback`."""
        self._callbacks.settle(callback)

    async def postpone_callback(
        self, rules: Rules, callback: Callback, delay_seconds: float
    ) -> None:
        """See `CircuitStore.postpone_callback`."""
        now, _ = self._begin(rules)
        self._callbacks.postpone(now, callback, delay_seconds)

    async def release_starts(self, rules: Rules) -> int:
        """See `CircuitStore.release_starts`."""
        self._begin(rules)
        return self._callbacks.release_starts()

    async def forget_run(self, rules: Rules, run: str) -> None:
        """See `CircuitStore.forget_run`."""
        self._begin(rules)
        self._callbacks.forget(run)

    async def note_step(self, rules: Rules, step: Step) -> bool:
        """See `CircuitStore.note_step`."""
        self._begin(rules)
        known = self._steps.get(step.kind)
        if known is not None and known.at >= step.at:
            return False
        self._steps[step.kind] = step
        at_us = round(step.at * 1_000_000)
        event = STEP_EVENTS[step.kind, step.accepted]
        self._add_history(
            rules, event, step.generation, by=step.by, at_us=at_us, reason=step.detail
        )
        return True

    async def chain(self, rules: Rules) -> ChainStatus:
        """See `CircuitStore.chain`."""
        now, _ = self._begin(rules)
        generation, repeats, at_us = self._repeats
        current = repeats > 0 and generation == self._record.generation
        return ChainStatus(
            self._callbacks.waiting(now),
            self._steps.get(StepKind.STOP),
            self._steps.get(StepKind.START),
            repeats if current else 0,
            at_us / 1_000_000 if current else None,
        )

    async def repeat_opened(self, rules: Rules, after_seconds: float, most_seconds: float) -> bool:
        """See `CircuitStore.repeat_opened`."""
        now, _ = self._begin(rules)
        record = self._record
        if record.state is not CircuitState.OPEN or self._outbox.alerts():
            return False
        if self._callbacks.waits(now, record.generation):
            return False
        generation, repeats, last_us = self._repeats
        if generation != record.generation:
            repeats, last_us = 0, record.opened_at_us
        pause = max(after_seconds * 1e6, min(last_us - record.opened_at_us, most_seconds * 1e6))
        if now < last_us + pause:
            return False
        self._repeats = (record.generation, repeats + 1, now)
        self._add_history(rules, ALERT_REPEATED, record.generation, by="", at_us=now)
        since = record.opened_at_us - rules.window_us
        self._add_alert(rules, self._circuit(rules, now), CircuitEvent.OPENED, since)
        return True

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

    def _announce(
        self, rules: Rules, now: int, event: CircuitEvent, *, restored: bool, alert: bool
    ) -> None:
        record = self._record
        reason = f"restored: {record.reason}" if restored else record.reason
        self._note(rules, now, event, by=record.by, reason=reason)
        circuit = self._circuit(rules, now)
        if alert:
            self._add_alert(rules, circuit, event, now - rules.window_us)
        for queue in self._watchers:
            queue.put_nowait(circuit)
        self._pushed(circuit)

    def _add_alert(self, rules: Rules, circuit: Circuit, event: CircuitEvent, since: int) -> None:
        record = self._record
        alert = alert_of(
            self._name,
            event,
            record.generation,
            record.changed_at_us,
            failures=self._window.count(since),
            successes=circuit.successes,
            failure_threshold=rules.failure_threshold,
            window_us=rules.window_us,
            errors=self._window.samples(since),
            reason=record.reason,
            by=record.by,
            instance=rules.instance,
            resume_at_us=record.resume_at_us,
            ends_as=record.ends_as,
            stops_app=record.stops_app,
        )
        self._outbox.add(alert, rules.outbox_limit)

    def _passed(self) -> int:
        """Return the latest generation that needs no approval any more."""
        waits = self._record.state in {CircuitState.OPEN, CircuitState.ISOLATED}
        return self._record.generation - waits

    def _note(self, rules: Rules, now: int, event: CircuitEvent, *, by: str, reason: str) -> None:
        self._add_history(rules, event, self._record.generation, by=by, at_us=now, reason=reason)

    def _add_history(
        self,
        rules: Rules,
        event: str,
        generation: int,
        *,
        by: str,
        at_us: int,
        reason: str = "",
    ) -> None:
        would = event == CircuitEvent.WOULD_OPEN
        stops_app = rules.stops_app if would else self._record.stops_app
        self._history.append(
            HistoryEntry(
                event=event,
                generation=generation,
                by=by,
                at=at_us / 1_000_000,
                reason=reason,
                instance=rules.instance,
                kind=kind_of(self._name, stops_app=stops_app),
            )
        )
        while len(self._history) > rules.history_limit:
            self._history.popleft()
