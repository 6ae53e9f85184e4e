"""An instance's behaviour during an outage of the shared store and after data loss.

In an outage the store does not answer, or it answers reads and takes no writes. The instance first
holds for the grace time (`store_grace_seconds`). Then the instance decides alone, with its own
window, and marks its state as degraded. Once the store takes writes again, the instance restores a
later state that the store has lost, adds its own opening, and records the failures that it counted
alone.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace

from breaker.clock import Clock, system_now_us
from breaker.errors import StoreUnavailableError, WritesRefusedError
from breaker.settings import BreakerSettings
from breaker.state import Change, Circuit, Permit, Rules
from breaker.stores.base import CircuitStore
from breaker.stores.memory import MemoryCircuitStore
from breaker.stores.memory_outbox import MemoryOutbox

logger = logging.getLogger(__name__)

OUTAGE_ERROR = "failure counted during a store outage"

type Operation = Callable[[CircuitStore], Awaitable[Change]]


class Outage:
    """The outage state of the shared store, and the local store that replaces it.

    Args:
        shared: the store of the whole fleet.
        settings: for the grace time and the polling interval.
        clock: measures the grace time.
        on_outage: called at the beginning of each outage.

    Attributes:
        known: the latest known state of the shared store.
        local: this instance's own store, while the instance decides alone; else None.
        alert_source: the local store whose alerts are not published yet, also after the outage.
    """

    def __init__(
        self,
        shared: CircuitStore,
        settings: BreakerSettings,
        clock: Clock,
        on_outage: Callable[[], None],
    ) -> None:
        self._shared = shared
        self._grace = settings.store_grace_seconds
        self._retry = settings.poll_seconds
        self._clock = clock
        self.known = Circuit(
            shared.name,
            failure_threshold=settings.failure_threshold,
            window_seconds=settings.window_seconds,
        )
        self._known_at = clock.monotonic()
        self._away_since: float | None = None
        self._ended = 0  # outages
        self._problem = ""
        self.local: MemoryCircuitStore | None = None
        self.alert_source: MemoryCircuitStore | None = None
        self._outbox = MemoryOutbox()
        self._returning = asyncio.Lock()
        self._on_outage = on_outage

    @property
    def away(self) -> bool:
        """Return whether the shared store has taken no write since the last failed request."""
        return self._away_since is not None

    @property
    def grace_left(self) -> float:
        """Remaining seconds of the grace time; 0 or negative once the grace time is over."""
        if self._away_since is None:
            return self._grace
        if self.local is not None:
            return 0.0
        return self._away_since + self._grace - self._clock.monotonic()

    def learn(self, circuit: Circuit) -> None:
        """Remember a state of the shared store, unless a later state is known."""
        if circuit.position >= self.known.position:
            self.known = circuit
            self._known_at = self._clock.monotonic()

    def begin(self, error: StoreUnavailableError) -> None:
        """Begin an outage, unless one has begun; remember why the store takes no writes."""
        refused = isinstance(error, WritesRefusedError)
        self._problem = str(error) if refused else ""
        if self._away_since is None:
            self._away_since = self._clock.monotonic()
            self._on_outage()
            logger.error("%s; nothing starts for up to %g s", error, self._grace)

    def on_hold(self) -> Change:
        """Return the known state, marked as on hold."""
        left = max(0.0, self.grace_left)
        circuit = replace(
            self.known, degraded=True, holding=True, retry_after=left, problem=self._problem
        )
        return Change(circuit, outcome="ignored")

    def degraded(self, change: Change) -> Change:
        """Return a result of the local store, marked as degraded."""
        return replace(
            change, circuit=replace(change.circuit, degraded=True, problem=self._problem)
        )

    def local_store(self, rules: Rules) -> MemoryCircuitStore:
        """Return the local store; create it from the known state if there is none."""
        if self.local is None:
            known, since = self.known, self._known_at
            base_us = round((known.as_of or 0) * 1_000_000)
            if not base_us:  # the shared store's time was never read, so use the machine's
                base_us, since = system_now_us(), self._clock.monotonic()

            def now_us() -> int:
                return base_us + round((self._clock.monotonic() - since) * 1_000_000)

            self.local = MemoryCircuitStore(known.name, now_us=now_us, outbox=self._outbox)
            self.alert_source = self.local
            self.local.adopt(rules, known)
            logger.error(
                "the store of circuit %s took no writes for %g s; this instance decides alone, "
                "starting %s in generation %d",
                known.name,
                self._grace,
                known.state,
                known.generation,
            )
        return self.local

    async def retry_for_grace(self, rules: Rules, operation: Operation) -> Change:
        """Run an operation on the shared store, with retries for the grace time; then locally.

        A store may take the poll's write and refuse the operation, for example by an ACL. Then each
        poll ends an outage, so the operation has a grace time of its own.
        """
        until = math.inf
        while self.local is None:
            try:
                return await self.ask(rules, operation)
            except StoreUnavailableError as error:
                self.begin(error)
            now = self._clock.monotonic()
            until = min(until, now + self._grace)
            left = min(self.grace_left, until - now)
            if left <= 0:
                break
            await self._clock.sleep(min(left, self._retry))
        return self.degraded(await operation(self.local_store(rules)))

    async def ask(self, rules: Rules, operation: Operation) -> Change:
        """Run an operation on the shared store, and bring a store that is behind up to date.

        In an outage a poll comes first, because an operation that only reads does not show that the
        store takes writes. After data loss, the operation runs again on the updated store.

        Raises:
            StoreUnavailableError: the store does not answer, or takes no writes.
        """
        moved, would_open = 0, ""
        if self._away_since is not None:
            moved, would_open = await self._return(rules)
        before = self.known
        change = await self._operate(operation)
        if change.refused:
            return self._refuse(change)
        if change.circuit.position < before.position:
            # `before` was read before the request, so an older answer is data loss, not a race.
            logger.warning(
                "the store of circuit %s has lost generation %d (%s); restoring this state",
                before.name,
                before.generation,
                before.state,
            )
            restored = (await self._shared.restore(rules, before)).transitions
            change = await self._repeat(operation, change, restored)
        self.learn(change.circuit)
        if moved or would_open:
            would_open = would_open or change.would_open
            change = replace(change, transitions=moved + change.transitions, would_open=would_open)
        return change

    async def _operate(self, operation: Operation) -> Change:
        """Run an operation on the shared store, and again if a refusal is late.

        Answers of a server that takes no writes may arrive after the end of the outage, for example
        those of the old primary after a failover. They would begin a new outage.
        """
        ended = self._ended
        try:
            change = await operation(self._shared)
        except WritesRefusedError:
            if not self._is_late(ended):
                raise
        else:
            if not change.refused or not self._is_late(ended):
                return change
        return await operation(self._shared)

    def _is_late(self, ended: int) -> bool:
        """Return whether an outage has ended since the count of ended outages had this value."""
        return self._away_since is None and self._ended != ended

    def _refuse(self, change: Change) -> Change:
        """Return a poll's result if the store only has no memory left, or raise an error.

        Without memory the fleet's state still holds, and what frees memory must not wait. The
        circuit's own transitions and failures are still written.

        Raises:
            WritesRefusedError: an outage begins or continues.
        """
        self.learn(change.circuit)
        if change.is_full:
            return replace(change, circuit=replace(change.circuit, problem=change.refused))
        raise WritesRefusedError(change.refused)

    async def _return(self, rules: Rules) -> tuple[int, str]:
        """End the outage if the store takes writes; return what `_reconcile` returns.

        Raises:
            StoreUnavailableError: the outage continues.
        """
        ended = self._ended
        try:
            found = await self._shared.snapshot(rules)
            if found.refused:
                self._refuse(found)
        except WritesRefusedError:
            if self._is_late(ended):  # another task has ended the outage
                return 0, ""
            raise
        moved, would_open = await self._reconcile(rules, found.circuit)
        return found.transitions + moved, found.would_open or would_open

    async def _repeat(self, operation: Operation, first: Change, moved: int) -> Change:
        """Run an operation again on the updated store and return the result of both runs."""
        change = await operation(self._shared)
        done = first.outcome == "done" and change.outcome == "ignored"  # done by the first run
        return replace(
            change,
            transitions=first.transitions + moved + change.transitions,
            outcome="done" if done else change.outcome,
            would_open=first.would_open or change.would_open,
        )

    async def _reconcile(self, rules: Rules, shared: Circuit) -> tuple[int, str]:
        """Bring the shared store up to date after an outage.

        Return the number of transitions made and, in mode observe, the reason of a prevented one.

        Until this is complete, other tasks of the instance use the local store. So the loop reads
        the local store again after each step.

        Raises:
            StoreUnavailableError: the store failed again; the next answer starts a new attempt.
        """
        moved, would_open, sent = 0, "", set[str]()
        async with self._returning:
            while self._away_since is not None:
                local = self.local
                # Awaiting the memory store never suspends; awaiting `self._shared` does.
                latest = self.known if local is None else (await local.snapshot(rules)).circuit
                if latest.position > shared.position:
                    change = await self._shared.restore(rules, latest)
                    moved, shared = moved + change.transitions, change.circuit
                    continue
                unsent: list[str] = []
                if local is not None and latest.admits and latest.position == shared.position:
                    unsent = [name for name in local.failure_ids(rules) if name not in sent]
                for failure_id in unsent:
                    permit = Permit(latest.generation)
                    change = await self._shared.record_failure(
                        rules, failure_id, OUTAGE_ERROR, permit
                    )
                    moved, shared = moved + change.transitions, change.circuit
                    would_open = would_open or change.would_open
                    sent.add(failure_id)
                if not unsent:
                    self._end()
        return moved, would_open

    def _end(self) -> None:
        assert self._away_since is not None  # noqa: S101 - checked by `_reconcile`
        self._ended += 1
        logger.warning(
            "the store of circuit %s is usable again after %.1f s",
            self.known.name,
            self._clock.monotonic() - self._away_since,
        )
        self.local, self._away_since, self._problem = None, None, ""
