"""A circuit store that uses the shared store, and a local store during an outage."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace

from breaker.alerts.base import AlertBatch, OutboxStatus
from breaker.chain import ChainStatus, Step
from breaker.clock import Clock
from breaker.errors import StoreUnavailableError
from breaker.notes import Report
from breaker.registration import Seen
from breaker.settings import BreakerSettings
from breaker.state import Change, Circuit, HistoryEntry, Permit, Rules
from breaker.stores.base import Admission, Callback, CircuitStore, Registration
from breaker.stores.outage import Operation, Outage


class FallbackStore:
    """A `CircuitStore` that survives outages of the shared store.

    Recording outcomes, acquiring permits and snapshots never raise `StoreUnavailableError`.
    Operator commands (approve, close, isolate) and reading the history do.

    Args:
        shared: the store of the whole fleet.
        settings: for the grace time and the polling interval.
        clock: measures the grace time.
        on_outage: called at the beginning of each outage.
    """

    def __init__(
        self,
        shared: CircuitStore,
        settings: BreakerSettings,
        clock: Clock,
        *,
        on_outage: Callable[[], None] = lambda: None,
    ) -> None:
        self._shared = shared
        self._outage = Outage(shared, settings, clock, on_outage)

    @property
    def name(self) -> str:
        """The circuit's name."""
        return self._shared.name

    @property
    def known(self) -> Circuit:
        """The latest state seen in the shared store."""
        return self._outage.known

    @property
    def away(self) -> bool:
        """Return whether the shared store has taken no write since the last failed request."""
        return self._outage.away

    def learn(self, circuit: Circuit) -> None:
        """Remember a pushed state of the shared store."""
        self._outage.learn(circuit)

    async def snapshot(self, rules: Rules) -> Change:
        """See `CircuitStore.snapshot`; degraded during an outage of the shared store."""
        return await self._poll(rules, lambda store: store.snapshot(rules))

    async def report(self, rules: Rules, report: Report) -> Change:
        """See `CircuitStore.report`; a degraded answer means that no store has the report.

        The local store gets no reports, so an instance that decides alone judges no standstill. It
        does not know whether other instances succeed.
        """
        return await self._poll(rules, lambda store: store.report(rules, report))

    async def _poll(self, rules: Rules, poll: Operation) -> Change:
        try:
            return await self._outage.ask(rules, poll)
        except StoreUnavailableError as error:
            self._outage.begin(error)
        if self._outage.grace_left > 0:
            return self._outage.on_hold()
        return self._outage.degraded(await self._outage.local_store(rules).snapshot(rules))

    async def record_failure(
        self, rules: Rules, failure_id: str, error: str, permit: Permit
    ) -> Change:
        """See `CircuitStore.record_failure`; retries for the grace time."""
        return await self._outage.retry_for_grace(
            rules, lambda store: store.record_failure(rules, failure_id, error, permit)
        )

    async def record_successes(
        self, rules: Rules, report_id: str, count: int, permit: Permit
    ) -> Change:
        """See `CircuitStore.record_successes`; a probe's success is retried for the grace time."""

        def record(store: CircuitStore) -> Awaitable[Change]:
            return store.record_successes(rules, report_id, count, permit)

        if permit.probe_id is not None:
            return await self._outage.retry_for_grace(rules, record)
        if self._outage.local is None:
            try:
                return await self._outage.ask(rules, record)
            except StoreUnavailableError as error:
                self._outage.begin(error)
                return self._outage.on_hold()
        return self._outage.degraded(await record(self._outage.local))

    async def acquire(self, rules: Rules, probe_id: str, key: str = "") -> Admission:
        """See `CircuitStore.acquire`; refuses during the grace time."""
        if self._outage.local is None:
            admission: Admission | None = None

            async def ask(store: CircuitStore) -> Change:
                nonlocal admission
                admission = await store.acquire(rules, probe_id, key)
                return admission.change

            try:
                change = await self._outage.ask(rules, ask)
            except StoreUnavailableError as error:
                self._outage.begin(error)
            else:
                assert admission is not None  # noqa: S101 - set by `ask`
                return replace(admission, change=change)
            if self._outage.grace_left > 0:
                change = self._outage.on_hold()
                return Admission(change, granted=False, wait=self._outage.grace_left)
        admission = await self._outage.local_store(rules).acquire(rules, probe_id, key)
        return replace(admission, change=self._outage.degraded(admission.change))

    async def release(self, rules: Rules, permit: Permit) -> Change:
        """See `CircuitStore.release`; in an outage the lease expires instead."""
        if self._outage.local is not None:
            return self._outage.degraded(await self._outage.local.release(rules, permit))
        try:
            return await self._outage.ask(rules, lambda store: store.release(rules, permit))
        except StoreUnavailableError as error:
            self._outage.begin(error)
            return self._outage.on_hold()

    async def approve(self, rules: Rules, generation: int, by: str) -> Change:
        """See `CircuitStore.approve`."""
        return await self._outage.ask(rules, lambda store: store.approve(rules, generation, by))

    async def close(self, rules: Rules, generation: int, by: str, reason: str) -> Change:
        """See `CircuitStore.close`."""
        return await self._outage.ask(
            rules, lambda store: store.close(rules, generation, by, reason)
        )

    async def isolate(self, rules: Rules, by: str, reason: str, seconds: float = 0.0) -> Change:
        """See `CircuitStore.isolate`."""
        return await self._outage.ask(
            rules, lambda store: store.isolate(rules, by, reason, seconds)
        )

    async def restore(self, rules: Rules, known: Circuit) -> Change:
        """See `CircuitStore.restore`."""
        return await self._outage.ask(rules, lambda store: store.restore(rules, known))

    async def history(self, limit: int) -> list[HistoryEntry]:
        """See `CircuitStore.history`."""
        return await self._shared.history(limit)

    async def registered(self, rules: Rules) -> tuple[float, list[Seen]]:
        """See `CircuitStore.registered`."""
        return await self._shared.registered(rules)

    async def names(self) -> frozenset[str]:
        """See `CircuitStore.names`."""
        return await self._shared.names()

    async def changes(self, rules: Rules) -> AsyncGenerator[Circuit | None]:
        """See `CircuitStore.changes`; in an outage a push only triggers a snapshot."""
        async with aclosing(self._shared.changes(rules)) as changes:
            async for circuit in changes:
                if circuit is None or self._outage.away:
                    yield None
                else:
                    self.learn(circuit)
                    yield circuit

    async def claim_alerts(
        self, rules: Rules, token: str, lease_seconds: float, limit: int
    ) -> AlertBatch:
        """See `CircuitStore.claim_alerts`; alerts of the local store come first."""
        local = self._outage.alert_source
        if local is not None:
            batch = await local.claim_alerts(rules, token, lease_seconds, limit)
            if batch.alerts or batch.wait is not None or self._outage.local is not None:
                return batch
            self._outage.alert_source = None
        return await self._shared.claim_alerts(rules, token, lease_seconds, limit)

    async def settle_alert(
        self, rules: Rules, token: str, entry: str, lease_seconds: float
    ) -> None:
        """See `CircuitStore.settle_alert`."""
        local = self._outage.alert_source
        if local is not None and any(entry == alert.entry for alert in local.undelivered()):
            await local.settle_alert(rules, token, entry, lease_seconds)
        else:
            await self._shared.settle_alert(rules, token, entry, lease_seconds)

    async def release_alerts(self, rules: Rules, token: str) -> None:
        """See `CircuitStore.release_alerts`."""
        if self._outage.alert_source is not None:
            await self._outage.alert_source.release_alerts(rules, token)
        if not self._outage.away:
            await self._shared.release_alerts(rules, token)

    async def outbox(self, rules: Rules) -> OutboxStatus:
        """See `CircuitStore.outbox`."""
        local = self._outage.alert_source
        own = OutboxStatus(0, None) if local is None else await local.outbox(rules)
        if self._outage.local is not None:
            return own
        shared = await self._shared.outbox(rules)
        ages = [age for age in (own.oldest_age, shared.oldest_age) if age is not None]
        return OutboxStatus(own.pending + shared.pending, max(ages, default=None))

    async def register_callback(self, rules: Rules, registration: Registration) -> bool:
        """See `CircuitStore.register_callback`."""
        return await self._shared.register_callback(rules, registration)

    async def claim_callbacks(self, rules: Rules, lease_seconds: float) -> list[Callback]:
        """See `CircuitStore.claim_callbacks`."""
        return await self._shared.claim_callbacks(rules, lease_seconds)

    async def settle_callback(self, rules: Rules, callback: Callback) -> None:
        """See `CircuitStore.settle_callback`."""
        await self._shared.settle_callback(rules, callback)

    async def postpone_callback(
        self, rules: Rules, callback: Callback, delay_seconds: float
    ) -> None:
        """See `CircuitStore.postpone_callback`."""
        await self._shared.postpone_callback(rules, callback, delay_seconds)

    async def release_starts(self, rules: Rules) -> int:
        """See `CircuitStore.release_starts`."""
        return await self._shared.release_starts(rules)

    async def forget_run(self, rules: Rules, run: str) -> None:
        """See `CircuitStore.forget_run`."""
        await self._shared.forget_run(rules, run)

    async def note_step(self, rules: Rules, step: Step) -> bool:
        """See `CircuitStore.note_step`."""
        return await self._shared.note_step(rules, step)

    async def chain(self, rules: Rules) -> ChainStatus:
        """See `CircuitStore.chain`."""
        return await self._shared.chain(rules)

    async def repeat_opened(self, rules: Rules, after_seconds: float, most_seconds: float) -> bool:
        """See `CircuitStore.repeat_opened`."""
        return await self._shared.repeat_opened(rules, after_seconds, most_seconds)

    async def aclose(self) -> None:
        """Close the shared store."""
        await self._shared.aclose()
