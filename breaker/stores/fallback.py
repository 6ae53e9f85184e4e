"""What happens when the shared store is away, and when it comes back with less than it had.

Away: first everything holds (`store_grace_seconds`), in the hope that it is short; then this
instance decides alone, with a window of its own, and says so. Back: a later state that this
instance knows is put back, an opening it made alone becomes everybody's, and failures it counted
alone are recorded.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace

from breaker.alerts.base import AlertBatch, OutboxStatus
from breaker.clock import Clock
from breaker.errors import StoreUnavailableError
from breaker.settings import BreakerSettings
from breaker.state import Change, Circuit, HistoryEntry, Permit, Rules
from breaker.stores.base import Admission, Callback, CircuitStore
from breaker.stores.memory import MemoryCircuitStore

logger = logging.getLogger(__name__)

AWAY = "recorded while the store was away"


class FallbackStore:
    """A `CircuitStore` in front of the shared one.

    Recording outcomes, admission and snapshots never raise `StoreUnavailableError`; what an
    operator does (approve, close, isolate) and reading the history do.

    Args:
        shared: the store of the whole fleet.
        settings: grace time and polling interval.
        clock: measures the grace time.
        on_outage: called whenever the store has gone away.
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
        self._grace = settings.store_grace_seconds
        self._retry = settings.poll_seconds
        self._clock = clock
        self._known = Circuit(
            shared.name,
            failure_threshold=settings.failure_threshold,
            window_seconds=settings.window_seconds,
        )
        self._known_at = clock.monotonic()
        self._away_since: float | None = None
        self._local: MemoryCircuitStore | None = None
        self._unsent: MemoryCircuitStore | None = None
        self._returning = asyncio.Lock()
        self._on_outage = on_outage

    @property
    def name(self) -> str:
        """The circuit's name."""
        return self._shared.name

    @property
    def known(self) -> Circuit:
        """The latest state seen in the shared store."""
        return self._known

    def learn(self, circuit: Circuit) -> None:
        """Take note of a state of the shared store that was pushed."""
        if circuit.position >= self._known.position:
            self._known = circuit
            self._known_at = self._clock.monotonic()

    async def snapshot(self, rules: Rules) -> Change:
        """See `CircuitStore.snapshot`; degraded while the shared store is away."""
        try:
            return await self._ask(rules, lambda store: store.snapshot(rules))
        except StoreUnavailableError as error:
            self._lost(error)
        if self._grace_left > 0:
            return self._held()
        return _alone(await self._alone(rules).snapshot(rules))

    async def record_failure(
        self, rules: Rules, failure_id: str, error: str, permit: Permit
    ) -> Change:
        """See `CircuitStore.record_failure`; waits out the grace time at most."""
        return await self._insist(
            rules, lambda store: store.record_failure(rules, failure_id, error, permit)
        )

    async def record_successes(self, rules: Rules, count: int, permit: Permit) -> Change:
        """See `CircuitStore.record_successes`; a probe's success waits as a failure does."""
        if permit.probe_id is not None:
            return await self._insist(
                rules, lambda store: store.record_successes(rules, count, permit)
            )
        if self._local is None:
            try:
                return await self._ask(
                    rules, lambda store: store.record_successes(rules, count, permit)
                )
            except StoreUnavailableError as error:
                self._lost(error)
                return self._held()
        return _alone(await self._local.record_successes(rules, count, permit))

    async def acquire(self, rules: Rules, probe_id: str) -> Admission:
        """See `CircuitStore.acquire`; refuses during the grace time."""
        if self._local is None:
            admission: Admission | None = None

            async def ask(store: CircuitStore) -> Change:
                nonlocal admission
                admission = await store.acquire(rules, probe_id)
                return admission.change

            try:
                change = await self._ask(rules, ask)
            except StoreUnavailableError as error:
                self._lost(error)
            else:
                assert admission is not None  # noqa: S101 - `ask` has just set it
                return replace(admission, change=change)
            if self._grace_left > 0:
                return Admission(self._held(), granted=False, wait=self._grace_left)
        admission = await self._alone(rules).acquire(rules, probe_id)
        return replace(admission, change=_alone(admission.change))

    async def release(self, rules: Rules, permit: Permit) -> Change:
        """See `CircuitStore.release`; without the store the lease ends by itself."""
        if self._local is not None:
            return _alone(await self._local.release(rules, permit))
        try:
            return await self._ask(rules, lambda store: store.release(rules, permit))
        except StoreUnavailableError as error:
            self._lost(error)
            return self._held()

    async def approve(self, rules: Rules, generation: int, by: str) -> Change:
        """See `CircuitStore.approve`."""
        return await self._ask(rules, lambda store: store.approve(rules, generation, by))

    async def close(self, rules: Rules, generation: int, by: str, reason: str) -> Change:
        """See `CircuitStore.close`."""
        return await self._ask(rules, lambda store: store.close(rules, generation, by, reason))

    async def isolate(self, rules: Rules, by: str, reason: str) -> Change:
        """See `CircuitStore.isolate`."""
        return await self._ask(rules, lambda store: store.isolate(rules, by, reason))

    async def restore(self, rules: Rules, known: Circuit) -> Change:
        """See `CircuitStore.restore`."""
        return await self._ask(rules, lambda store: store.restore(rules, known))

    async def history(self, limit: int) -> list[HistoryEntry]:
        """See `CircuitStore.history`."""
        return await self._shared.history(limit)

    async def changes(self, rules: Rules) -> AsyncGenerator[Circuit | None]:
        """See `CircuitStore.changes`; while away a push only says that the store is back."""
        async with aclosing(self._shared.changes(rules)) as changes:
            async for circuit in changes:
                if circuit is None or self._away_since is not None:
                    yield None
                else:
                    self.learn(circuit)
                    yield circuit

    async def claim_alerts(
        self, rules: Rules, token: str, lease_seconds: float, limit: int
    ) -> AlertBatch:
        """See `CircuitStore.claim_alerts`; what this instance decided alone goes first."""
        alone = self._local or self._unsent
        if alone is not None:
            batch = await alone.claim_alerts(rules, token, lease_seconds, limit)
            if batch.alerts or batch.wait is not None or self._local is not None:
                return batch
            self._unsent = None
        return await self._shared.claim_alerts(rules, token, lease_seconds, limit)

    async def settle_alert(
        self, rules: Rules, token: str, entry: str, lease_seconds: float
    ) -> None:
        """See `CircuitStore.settle_alert`."""
        for store in (self._local, self._unsent):
            if store is not None and any(entry == alert.entry for alert in store.undelivered()):
                await store.settle_alert(rules, token, entry, lease_seconds)
                return
        await self._shared.settle_alert(rules, token, entry, lease_seconds)

    async def release_alerts(self, rules: Rules, token: str) -> None:
        """See `CircuitStore.release_alerts`."""
        for store in (self._local, self._unsent):
            if store is not None:
                await store.release_alerts(rules, token)
        if self._away_since is None:
            await self._shared.release_alerts(rules, token)

    async def outbox(self, rules: Rules) -> OutboxStatus:
        """See `CircuitStore.outbox`."""
        if self._local is not None:
            return await self._local.outbox(rules)
        return await self._shared.outbox(rules)

    async def register_callback(self, rules: Rules, generation: int, url: str) -> bool:
        """See `CircuitStore.register_callback`."""
        return await self._shared.register_callback(rules, generation, url)

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

    async def aclose(self) -> None:
        """Close the shared store."""
        await self._shared.aclose()

    @property
    def _grace_left(self) -> float:
        if self._away_since is None:
            return self._grace
        return self._away_since + self._grace - self._clock.monotonic()

    async def _insist(
        self, rules: Rules, operation: Callable[[CircuitStore], Awaitable[Change]]
    ) -> Change:
        """Ask the shared store again and again during the grace time, then decide alone."""
        while self._local is None:
            try:
                return await self._ask(rules, operation)
            except StoreUnavailableError as error:
                self._lost(error)
            left = self._grace_left
            if left <= 0:
                break
            await self._clock.sleep(min(left, self._retry))
        return _alone(await operation(self._alone(rules)))

    async def _ask(
        self, rules: Rules, operation: Callable[[CircuitStore], Awaitable[Change]]
    ) -> Change:
        """Ask the shared store; first give back what it lost, then what was decided alone."""
        before = self._known
        change = await operation(self._shared)
        restored = 0
        if self._away_since is not None:
            restored = await self._return(rules, change.circuit)
            change = await operation(self._shared)
        elif change.circuit.position < before.position:
            # `before` was read before asking: an older answer means lost data, not a late reply.
            logger.warning(
                "the store has lost generation %d of circuit %s (%s): putting it back",
                before.generation,
                self.name,
                before.state,
            )
            restored = (await self._shared.restore(rules, before)).transitions
            change = await operation(self._shared)
        self.learn(change.circuit)
        return replace(change, transitions=change.transitions + restored) if restored else change

    async def _return(self, rules: Rules, shared: Circuit) -> int:
        """Reconcile once the shared store answers again; how many transitions that made.

        Raises:
            StoreUnavailableError: it went away meanwhile; the next answer tries again.
        """
        async with self._returning:
            if self._away_since is None:
                return 0
            latest, local, moved = self._known, self._local, 0
            if local is not None:
                latest = (await local.snapshot(rules)).circuit
            if latest.position > shared.position:
                moved = (await self._shared.restore(rules, latest)).transitions
            elif local is not None and latest.admits and latest.position == shared.position:
                permit = Permit(shared.generation)
                for _, failure_id in local.failures():
                    change = await self._shared.record_failure(rules, failure_id, AWAY, permit)
                    moved += change.transitions
            seconds = self._clock.monotonic() - self._away_since
            logger.warning("the store of circuit %s is back after %.1f s", self.name, seconds)
            self._unsent, self._local, self._away_since = local, None, None
            return moved

    def _lost(self, error: StoreUnavailableError) -> None:
        if self._away_since is None:
            self._away_since = self._clock.monotonic()
            self._on_outage()
            logger.error("holding for up to %g s: %s", self._grace, error)

    def _held(self) -> Change:
        left = max(0.0, self._grace_left)
        circuit = replace(self._known, degraded=True, holding=True, retry_after=left)
        return Change(circuit, outcome="ignored")

    def _alone(self, rules: Rules) -> MemoryCircuitStore:
        """This instance's own store, running on from what was last known."""
        if self._local is None:
            known, since = self._known, self._known_at
            base_us = round((known.as_of or 0) * 1_000_000)

            def now_us() -> int:
                return base_us + round((self._clock.monotonic() - since) * 1_000_000)

            store = MemoryCircuitStore(self.name, now_us=now_us) if base_us else None
            self._local = store or MemoryCircuitStore(self.name)
            self._local.adopt(rules, known)
            logger.error(
                "the store of circuit %s is still away: this instance decides alone, "
                "from %s in generation %d",
                self.name,
                known.state,
                known.generation,
            )
        return self._local


def _alone(change: Change) -> Change:
    return replace(change, circuit=replace(change.circuit, degraded=True))
