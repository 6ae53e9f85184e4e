"""CircuitBreaker: the one object that everybody uses."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import uuid
from types import TracebackType
from typing import TYPE_CHECKING, Self

from breaker.alerts.base import AlertPublisher
from breaker.alerts.delivery import AlertDelivery
from breaker.approvals import Approvals, Caller
from breaker.clock import Clock, SystemClock
from breaker.errors import (
    CircuitIsolatedError,
    CircuitOpenError,
    StaleGenerationError,
    StoreUnavailableError,
)
from breaker.metrics import Instruments, default_meter
from breaker.settings import BreakerSettings
from breaker.state import Change, Circuit, CircuitState, HistoryEntry, Permit, clip
from breaker.stores.base import CircuitStore
from breaker.stores.fallback import FallbackStore
from breaker.view import CircuitView
from breaker.watcher import Watcher

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

logger = logging.getLogger(__name__)

FAILURE_ID_CHARS = 200
REFUSED_WAIT_SECONDS = 1.0


class CircuitBreaker(CircuitView):
    """One circuit as one instance of the fleet sees it.

    The healthy path costs no I/O: while `circuit.admits` is true, `try_acquire` answers from the
    pushed state. Use as an async context manager, or `start` and `aclose`.

    Args:
        store: where the circuit lives, shared by the fleet.
        settings: the rules, the same on all instances.
        publisher: where alerts go; None leaves them in the outbox for others.
        clock: elapsed time and sleeping; never decides what the store's clock decides.
        instance: this instance in history and alerts; default "host:pid".
        caller: posts approval callbacks; default HTTP.
        meter: where measurements go; default OpenTelemetry's, if its API is installed.

    Attributes:
        circuit: the last known state; read it freely, it costs nothing.
        settings: as given.
        instance: as given.
        approvals: who is called back when a generation is approved.
    """

    def __init__(
        self,
        store: CircuitStore,
        settings: BreakerSettings | None = None,
        *,
        publisher: AlertPublisher | None = None,
        clock: Clock | None = None,
        instance: str | None = None,
        caller: Caller | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.settings = settings or BreakerSettings(name=store.name)
        self.instance = clip(instance or f"{socket.gethostname()}:{os.getpid()}")
        self._clock = clock or SystemClock()
        self._rules = self.settings.rules(self.instance)
        self._store = FallbackStore(store, self.settings, self._clock, on_outage=self._on_outage)
        self._publisher = publisher
        self._alerts = AlertDelivery(
            self._store,
            self._rules,
            publisher,
            lease_seconds=self.settings.alert_lease_seconds,
            clock=self._clock,
        )
        self.approvals = Approvals(self._store, self._rules, caller=caller, clock=self._clock)
        self._watcher = Watcher(
            self._store,
            self._rules,
            learn=self._learn,
            refresh=self.refresh,
            poll_seconds=self.settings.poll_seconds,
            clock=self._clock,
        )
        super().__init__(self._store.known)
        self._instruments = Instruments(meter or default_meter(), self)

    @property
    def name(self) -> str:
        """The circuit's name."""
        return self._store.name

    @property
    def alert_age(self) -> float | None:
        """Seconds that the oldest alert was undelivered when this instance last looked."""
        return self._alerts.oldest_age

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def start(self) -> None:
        """Take a first snapshot and keep watching; a store that is away means starting on hold."""
        await self.refresh()
        self._watcher.start()

    async def aclose(self) -> None:
        """Stop watching; an alert being published is awaited; then the connections close."""
        self._instruments.close()
        await self._watcher.aclose()
        await self._alerts.aclose()
        await self.approvals.aclose()
        if self._publisher is not None:
            await self._publisher.aclose()
        await self._store.aclose()

    async def refresh(self) -> Circuit:
        """Ask the store: one round trip. A store that is away shows as `degraded`."""
        return self._take(await self._store.snapshot(self._rules))

    async def try_acquire(self) -> Permit:
        """The right to start now.

        CLOSED: no I/O. HALF_OPEN: one round trip; the permit is a lease of `permit_seconds` that
        ends with `record_failure`, `record_successes` or `release`.

        Raises:
            CircuitOpenError: nothing may start; `retry_after` says when to ask again, if known.
        """
        circuit = self.circuit if self._watcher.running else await self.refresh()
        if circuit.admits:
            return Permit(circuit.generation)
        if circuit.state is CircuitState.HALF_OPEN and not circuit.holding:
            return await self._probe()
        raise self._refusal(circuit, circuit.retry_after)

    async def record_failure(self, failure_id: str, error: str, permit: Permit) -> Circuit:
        """Count one failure: one round trip; opens the circuit if it is one too many.

        The same id counts once inside the window, so a repeat after a lost answer is harmless. An
        outcome of an older generation changes nothing. Without the store it waits, up to
        `store_grace_seconds`, and is then counted by this instance alone.

        Args:
            failure_id: unique per failure over the fleet, e.g. hub/partition/sequence/round.
            error: what went wrong, for the alert; shortened to 200 characters.
            permit: what the work was started with.

        Raises:
            ValueError: an empty failure id.
        """
        if not failure_id:
            raise ValueError("failure_id is empty: it takes a text unique to this failure")
        if len(failure_id) > FAILURE_ID_CHARS:
            failure_id = hashlib.sha256(failure_id.encode("utf-8", "replace")).hexdigest()
        change = await self._store.record_failure(
            self._rules, clip(failure_id), clip(error), permit
        )
        if change.outcome == "done":
            self._instruments.count("failures")
            if change.transitions and change.circuit.state is CircuitState.OPEN:
                self._instruments.count("openings")
        return self._take(change)

    async def record_successes(self, count: int, permit: Permit) -> Circuit:
        """Report successes: a probe's, or a batch's for the ratio rule; otherwise no I/O.

        A repeat that the store's client makes after a lost answer counts nothing twice; calling
        this again does, but for a probe's permit.

        Raises:
            ValueError: a negative count.
        """
        if count < 0:
            raise ValueError(f"count is {count}: it takes a number from 0")
        if count == 0 or (permit.probe_id is None and self.settings.failure_ratio is None):
            return self.circuit
        report_id = uuid.uuid4().hex
        change = await self._store.record_successes(self._rules, report_id, count, permit)
        return self._take(change)

    async def release(self, permit: Permit) -> None:
        """Give a probe's permit back; it counts neither way. Other permits cost nothing."""
        if permit.probe_id is not None:
            self._take(await self._store.release(self._rules, permit))

    async def approve(self, generation: int, by: str) -> Circuit:
        """Move that generation half-open, then call its callbacks. Repeating it is harmless.

        Args:
            generation: what the operator was asked about.
            by: who approves, for the history.

        Raises:
            StaleGenerationError: it is not the current generation; nothing was changed.
            CircuitIsolatedError: the circuit was isolated by hand.
            StoreUnavailableError: nothing was changed, or the answer was lost: repeat it.
            ValueError: an empty `by`.
        """
        change = await self._store.approve(self._rules, generation, _who(by))
        return await self._decided(change, generation)

    async def close_circuit(self, generation: int, by: str, reason: str = "") -> Circuit:
        """Close that generation by hand, without probes. Repeating it is harmless.

        Raises:
            StaleGenerationError: it is not the current generation; nothing was changed.
            StoreUnavailableError: nothing was changed, or the answer was lost: repeat it.
            ValueError: an empty `by`.
        """
        who = _who(by)
        why = clip(reason or f"closed by {who}")
        change = await self._store.close(self._rules, generation, who, why)
        return await self._decided(change, generation)

    async def isolate(self, by: str, reason: str = "") -> Circuit:
        """Open a new generation by hand; it stays until closed by hand.

        Raises:
            StoreUnavailableError: nothing was changed, or the answer was lost: repeat it.
            ValueError: an empty `by`.
        """
        who = _who(by)
        why = clip(reason or f"isolated by {who}")
        return self._take(await self._store.isolate(self._rules, who, why))

    async def deliver_alerts(self) -> int:
        """Publish what is undelivered, whoever left it; how many that were.

        Also calls approval callbacks that are still due. For a timer, and for the console.

        Raises:
            AlertDeliveryError: an alert was not accepted; it is kept.
            StoreUnavailableError: the outbox cannot be read.
        """
        await self.approvals.call_due()
        return await self._alerts.deliver()

    async def history(self, limit: int = 100) -> list[HistoryEntry]:
        """The latest changes, newest first.

        Raises:
            StoreUnavailableError: it cannot be read.
            ValueError: a limit below 1.
        """
        if limit < 1:
            raise ValueError(f"limit is {limit}: it takes a number from 1")
        return await self._store.history(limit)

    async def _probe(self) -> Permit:
        probe_id = uuid.uuid4().hex
        admission = await self._store.acquire(self._rules, probe_id)
        circuit = self._take(admission.change)
        if not admission.granted:
            wait = circuit.retry_after
            if circuit.state is CircuitState.HALF_OPEN:
                # A permit may be given back long before a lease ends, and that is not pushed.
                wait = min(admission.wait or REFUSED_WAIT_SECONDS, REFUSED_WAIT_SECONDS)
            raise self._refusal(circuit, wait)
        probing = circuit.state is CircuitState.HALF_OPEN
        return Permit(circuit.generation, probe_id if probing else None)

    def _refusal(self, circuit: Circuit, retry_after: float | None) -> CircuitOpenError:
        self._instruments.count("refusals")
        return CircuitOpenError(circuit, retry_after)

    def _on_outage(self) -> None:
        self._instruments.count("store.outages")

    async def _decided(self, change: Change, generation: int) -> Circuit:
        """Answer an operator; what was approved, now or before, is called back."""
        circuit = self._take(change)
        if change.outcome == "stale":
            raise StaleGenerationError(circuit, generation)
        if change.outcome == "isolated":
            raise CircuitIsolatedError(circuit)
        try:
            await self.approvals.call_due()
        except StoreUnavailableError as error:
            logger.warning("callbacks are called later, by whoever can: %s", error)
        return circuit

    def _take(self, change: Change) -> Circuit:
        """Learn from an operation; if it moved the state, tell the world."""
        moved = change.transitions > 0 or change.circuit.position > self.circuit.position
        self._learn(change.circuit)
        if moved:
            self._alerts.deliver_soon()
        return change.circuit


def _who(by: str) -> str:
    if not by.strip():
        raise ValueError("by is empty: it takes the name of whoever decides")
    return clip(by.strip())
