"""The shared store is away, or comes back with less than it had: what is known, and what is done.

Away: first everything holds (`store_grace_seconds`), in the hope that it is short; then this
instance decides alone, with a window of its own, and says so. Back: a later state that this
instance knows is put back, an opening it made alone becomes everybody's, and failures it counted
alone are recorded.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from breaker.clock import Clock, system_now_us
from breaker.errors import StoreUnavailableError
from breaker.settings import BreakerSettings
from breaker.state import Change, Circuit, Permit, Rules
from breaker.stores.base import CircuitStore
from breaker.stores.memory import MemoryCircuitStore
from breaker.stores.memory_outbox import MemoryOutbox

logger = logging.getLogger(__name__)

AWAY = "recorded while the store was away"

type Operation = Callable[[CircuitStore], Awaitable[Change]]


class Outage:
    """Asks the shared store, and decides what counts while it does not answer.

    Args:
        shared: the store of the whole fleet.
        settings: grace time and polling interval.
        clock: measures the grace time.
        on_outage: called whenever the store has gone away.

    Attributes:
        known: the latest state seen in the shared store.
        local: this instance's own store, while it decides alone.
        alert_source: the own store whose alerts are not yet published; outlives the outage.
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
        self.local: MemoryCircuitStore | None = None
        self.alert_source: MemoryCircuitStore | None = None
        self._outbox = MemoryOutbox()
        self._returning = asyncio.Lock()
        self._on_outage = on_outage

    @property
    def away(self) -> bool:
        """Whether the shared store did not answer when it was last asked."""
        return self._away_since is not None

    @property
    def grace_left(self) -> float:
        """Seconds for which everything holds; below zero once it is over."""
        if self._away_since is None:
            return self._grace
        return self._away_since + self._grace - self._clock.monotonic()

    def learn(self, circuit: Circuit) -> None:
        """Take note of a state of the shared store."""
        if circuit.position >= self.known.position:
            self.known = circuit
            self._known_at = self._clock.monotonic()

    def lost(self, error: StoreUnavailableError) -> None:
        """The shared store did not answer."""
        if self._away_since is None:
            self._away_since = self._clock.monotonic()
            self._on_outage()
            logger.error("holding for up to %g s: %s", self._grace, error)

    def held(self) -> Change:
        """What is known, on hold."""
        left = max(0.0, self.grace_left)
        circuit = replace(self.known, degraded=True, holding=True, retry_after=left)
        return Change(circuit, outcome="ignored")

    def alone(self, rules: Rules) -> MemoryCircuitStore:
        """This instance's own store, running on from what was last known."""
        if self.local is None:
            known, since = self.known, self._known_at
            base_us = round((known.as_of or 0) * 1_000_000)
            if not base_us:  # never seen: the best clock there is
                base_us, since = system_now_us(), self._clock.monotonic()

            def now_us() -> int:
                return base_us + round((self._clock.monotonic() - since) * 1_000_000)

            self.local = MemoryCircuitStore(known.name, now_us=now_us, outbox=self._outbox)
            self.alert_source = self.local
            self.local.adopt(rules, known)
            logger.error(
                "the store of circuit %s is still away: this instance decides alone, "
                "from %s in generation %d",
                known.name,
                known.state,
                known.generation,
            )
        return self.local

    async def retry_for_grace(self, rules: Rules, operation: Operation) -> Change:
        """Ask the shared store again and again during the grace time, then decide alone."""
        while self.local is None:
            try:
                return await self.ask(rules, operation)
            except StoreUnavailableError as error:
                self.lost(error)
            left = self.grace_left
            if left <= 0:
                break
            await self._clock.sleep(min(left, self._retry))
        return degraded(await operation(self.alone(rules)))

    async def ask(self, rules: Rules, operation: Operation) -> Change:
        """Ask the shared store; first give back what it lost, then what was decided alone."""
        before = self.known
        change = await operation(self._shared)
        if self._away_since is not None:
            change = await self._again(operation, change, await self._return(rules, change.circuit))
        elif change.circuit.position < before.position:
            # `before` was read before asking: an older answer means lost data, not a late reply.
            logger.warning(
                "the store has lost generation %d of circuit %s (%s): putting it back",
                before.generation,
                before.name,
                before.state,
            )
            restored = (await self._shared.restore(rules, before)).transitions
            change = await self._again(operation, change, restored)
        self.learn(change.circuit)
        return change

    async def _again(self, operation: Operation, first: Change, moved: int) -> Change:
        """Ask once more, now that the store has what it lost; the answer to both."""
        change = await operation(self._shared)
        done = first.outcome == "done" and change.outcome == "ignored"  # by the first one
        return replace(
            change,
            transitions=first.transitions + moved + change.transitions,
            outcome="done" if done else change.outcome,
        )

    async def _return(self, rules: Rules, shared: Circuit) -> int:
        """Reconcile once the shared store answers again; how many transitions that made.

        Until it is done others go on deciding alone, so it looks again after each step.

        Raises:
            StoreUnavailableError: it went away meanwhile; the next answer tries again.
        """
        moved, sent = 0, set[str]()
        async with self._returning:
            while self._away_since is not None:
                local = self.local
                # A store in memory never suspends: nothing happens between here and the end.
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
                    change = await self._shared.record_failure(rules, failure_id, AWAY, permit)
                    moved, shared = moved + change.transitions, change.circuit
                    sent.add(failure_id)
                if not unsent:
                    self._back()
        return moved

    def _back(self) -> None:
        seconds = self._clock.monotonic() - (self._away_since or 0)
        logger.warning("the store of circuit %s is back after %.1f s", self.known.name, seconds)
        self.local, self._away_since = None, None


def degraded(change: Change) -> Change:
    """Mark what this instance decided alone."""
    return replace(change, circuit=replace(change.circuit, degraded=True))
