"""The circuit breaker of one instance: permits, outcomes, operator commands, alerts."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from breaker.alerts.base import AlertPublisher
from breaker.alerts.delivery import AlertDelivery
from breaker.approvals import Approvals, Caller
from breaker.clock import Clock, SystemClock
from breaker.configuration.one_line import escaped
from breaker.duration import LONGEST_SECONDS, format_duration
from breaker.errors import (
    CircuitIsolatedError,
    CircuitOpenError,
    StaleGenerationError,
    StoreUnavailableError,
)
from breaker.guarded_calls import GuardedCalls
from breaker.keys import Key
from breaker.metrics import Instruments, default_meter
from breaker.names import split_name
from breaker.notes import Notes
from breaker.registered_circuit import RegisteredCircuit
from breaker.registration import settings_text
from breaker.settings import BreakerSettings
from breaker.state import (
    MAX_ERROR_CHARS,
    Change,
    Circuit,
    CircuitState,
    HistoryEntry,
    Permit,
    clip,
)
from breaker.stores.base import CircuitStore
from breaker.stores.fallback import FallbackStore
from breaker.view import CircuitView
from breaker.watcher import Watcher

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

logger = logging.getLogger(__name__)

FAILURE_ID_CHARS = 200
REPEAT_SECONDS_MAX = 1_800.0
"""Longest pause between two repeats of an `opened` alert."""
REFUSED_WAIT_SECONDS = 1.0


class CircuitBreaker(GuardedCalls, RegisteredCircuit, CircuitView):
    """A circuit breaker for one instance of a fleet.

    While `circuit.admits` is true, `try_acquire` uses the pushed state and does no I/O. Use the
    breaker as an async context manager, or call `start` and `aclose`. A program without an event
    loop uses `with breaker:`, which runs the breaker in a thread of its own.

    `protect` and `guard` protect calls. `try_acquire`, `record_failure` and `record_successes` are
    for a caller that decides itself what counts.

    Args:
        store: the store of the circuit, shared by the fleet.
        settings: the rules, the same on all instances.
        publisher: destination of alerts; None leaves the alerts in the outbox to other instances.
        clock: measures elapsed time and sleeps; the store's clock decides about breaks and leases.
        instance: name of this instance in history and alerts; default "host:pid".
        registers: whether polls register this instance and its settings. A tool does not register,
            because it may have other settings than the app and runs no events.
        caller: client that posts approval callbacks; default HTTP.
        meter: receiver of the measurements; default the OpenTelemetry meter, if its API is
            installed.

    Attributes:
        circuit: the last known state; reading it does no I/O.
        settings: as given.
        instance: as given.
        approvals: the approval callbacks of this circuit.
    """

    def __init__(
        self,
        store: CircuitStore,
        settings: BreakerSettings | None = None,
        *,
        publisher: AlertPublisher | None = None,
        clock: Clock | None = None,
        instance: str | None = None,
        registers: bool = True,
        caller: Caller | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.settings = settings or BreakerSettings(name=split_name(store.name)[0])
        self.instance = clip(instance or f"{socket.gethostname()}:{os.getpid()}")
        self._clock = clock or SystemClock()
        stored = settings_text(self.settings) if registers else ""
        self._rules = self.settings.rules(self.instance, stored)
        self._notes = Notes(self._clock.monotonic)
        self._store = FallbackStore(store, self.settings, self._clock, on_outage=self._on_outage)
        self._publisher = publisher
        self._alerts = AlertDelivery(
            self._store,
            self._rules,
            publisher,
            lease_seconds=self.settings.alert_lease_seconds,
            clock=self._clock,
            console_url=self.settings.console_url,
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
        super().__init__(self._store.known, self._clock.monotonic)
        self._instruments = Instruments(meter or default_meter(), self)

    @property
    def name(self) -> str:
        """The circuit's name."""
        return self._store.name

    @property
    def is_watched(self) -> bool:
        """Return whether pushes and polls update `circuit`."""
        return self._watcher.running

    @property
    def alert_age(self) -> float | None:
        """Age of the oldest undelivered alert in seconds, as of this instance's last delivery."""
        return self._alerts.oldest_age

    @property
    def ramp_share(self) -> float:
        """Elapsed part of the ramp after the circuit's closing, 0 to 1; 1 without a ramp."""
        elapsed, seconds = self.closed_seconds, self.settings.ramp_seconds
        if elapsed is None or elapsed >= seconds:
            return 1.0
        return max(0.0, elapsed / seconds)

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
        """Take a first snapshot and start watching; during a store outage, start on hold."""
        await self.refresh()
        self._watcher.start()
        self.loop, self.pid = asyncio.get_running_loop(), os.getpid()

    async def aclose(self) -> None:
        """Stop watching, wait for the alert that is being published, and close connections."""
        self.loop = None
        self._instruments.close()
        await self._watcher.aclose()
        await self._alerts.aclose()
        await self.approvals.aclose()
        if self._publisher is not None:
            await self._publisher.aclose()
        await self._store.aclose()

    async def refresh(self) -> Circuit:
        """Return the store's state, in one round trip; `degraded` if the store does not answer.

        The same round trip reports what was noted since the last report.
        """
        report = self._notes.take()
        if report is None:
            return self._take(await self._store.snapshot(self._rules))
        change = await self._store.report(self._rules, report)
        if change.circuit.degraded or change.refused:
            self._notes.put_back(report)
        return self._take(change)

    @property
    def note_success(self) -> Callable[[float], None]:
        """A function that notes an event that succeeded, for the standstill rule; does no I/O.

        The function takes the seconds that the successful attempt took. Callers keep it, because it
        is called for each event.
        """
        return self._notes.success

    def note_failed_attempt(self, key: Key, error: str = "") -> None:
        """Note an attempt that failed, for the standstill rule; does no I/O.

        Do not note an attempt that says nothing about a dependency, such as a poison event, a
        refusal by an open circuit, or throttling.

        Args:
            key: the event's key.
            error: error text for the reason of an opening; shortened to 200 characters.
        """
        if self.circuit.state is CircuitState.CLOSED:  # a probe's outcome is recorded instead
            self._notes.failed_attempt(key, error, self.circuit.generation)

    def enter(self, key: Key) -> None:
        """Note that events of a key run here, until `leave`; does no I/O."""
        self._notes.enter(key)

    def leave(self, key: Key) -> None:
        """End one `enter` of a key; does no I/O."""
        self._notes.leave(key)

    async def try_acquire(self, key: Key | None = None) -> Permit:
        """Return a permit to start now.

        CLOSED does no I/O. HALF_OPEN takes one round trip, and the permit is a lease of
        `permit_seconds` that ends with `record_failure`, `record_successes` or `release`. A key
        whose probe failed gets no permit while other keys ask.

        Args:
            key: the key of the event that starts; None counts as a key of its own.

        Raises:
            CircuitOpenError: nothing may start; `retry_after` is the seconds until a retry makes
                sense, if known.
        """
        circuit = self.circuit if self.is_watched else await self.refresh()
        if circuit.admits:
            return Permit(circuit.generation)
        if circuit.state is CircuitState.HALF_OPEN and not circuit.holding:
            return await self._probe("" if key is None else key.token)
        raise self._refusal(circuit, circuit.retry_after)

    async def record_failure(self, failure_id: str, error: str, permit: Permit) -> Circuit:
        """Count one failure, in one round trip; open the circuit if the threshold is reached.

        The same id counts once inside the window, at its latest time, so a repeat is harmless. In
        HALF_OPEN three failed probes open the next generation. An outcome of an older generation
        changes nothing. During a store outage the call retries for
        up to `store_grace_seconds`; then this instance counts the failure alone.

        Args:
            failure_id: unique per event over the fleet, e.g. hub/partition/sequence.
            error: error text for the alert; shortened to 200 characters.
            permit: the permit that the work was started with.

        Raises:
            ValueError: the failure id is empty.
        """
        if not failure_id:
            raise ValueError("failure_id is empty: it takes a text that is unique to this failure")
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
        """Record the success of a probe, or successes for the ratio rule; otherwise do no I/O.

        If the store's client retries after a lost answer, the successes count once. A second call
        of this method counts them again, except with a probe's permit.

        Args:
            count: number of successful events.
            permit: the permit that the work was started with.

        Raises:
            ValueError: the count is negative.
        """
        if count < 0:
            raise ValueError(f"count is {count}: it takes a whole number of at least 0")
        if count == 0 or (permit.probe_id is None and self.settings.failure_ratio is None):
            return self.circuit
        report_id = uuid.uuid4().hex
        change = await self._store.record_successes(self._rules, report_id, count, permit)
        return self._take(change)

    async def release(self, permit: Permit) -> None:
        """Release a probe's permit without an outcome; for other permits do nothing."""
        if permit.probe_id is not None:
            self._take(await self._store.release(self._rules, permit))

    async def approve(self, generation: int, by: str) -> Circuit:
        """Set an open generation to half-open and call its callbacks; a repeat is harmless.

        Args:
            generation: the generation that the operator approves.
            by: name of the operator, for the history.

        Raises:
            StaleGenerationError: the generation is not the current one; nothing was changed.
            CircuitIsolatedError: the circuit was isolated by hand; nothing was changed.
            StoreUnavailableError: nothing was changed or the answer was lost; repeat the call.
            ValueError: `by` is empty.
        """
        change = await self._store.approve(self._rules, generation, _operator_name(by))
        return await self._finish_command(change, generation)

    async def close_circuit(self, generation: int, by: str, reason: str = "") -> Circuit:
        """Close a generation by hand, without probes; a repeat is harmless.

        Args:
            generation: the generation that the operator closes.
            by: name of the operator, for the history.
            reason: for the history; default "closed by <name>".

        Raises:
            StaleGenerationError: the generation is not the current one; nothing was changed.
            StoreUnavailableError: nothing was changed or the answer was lost; repeat the call.
            ValueError: `by` is empty.
        """
        name = _operator_name(by)
        text = clip(escaped(reason) or f"closed by {name}")
        change = await self._store.close(self._rules, generation, name, text)
        return await self._finish_command(change, generation)

    async def isolate(self, by: str, reason: str = "", for_seconds: float | None = None) -> Circuit:
        """Isolate the circuit in a new generation, until its end or until `close_circuit`.

        At the end a circuit that was closed is closed again. Otherwise the end is a new opening,
        with generation and alert. Isolating an isolated circuit replaces its reason and its end.

        Args:
            by: name of the operator, for the history.
            reason: for the history; default "isolated by <name>".
            for_seconds: length of the isolation, 1 second to 30 days; None for no end.

        Raises:
            StoreUnavailableError: nothing was changed or the answer was lost; repeat the call.
            ValueError: `by` is empty, or `for_seconds` is out of bounds.
        """
        name = _operator_name(by)
        text, length = escaped(reason) or f"isolated by {name}", ""
        if for_seconds is not None:
            if not 1 <= for_seconds <= LONGEST_SECONDS:
                raise ValueError(
                    f"for_seconds is {for_seconds:g}: it takes 1 to {LONGEST_SECONDS} seconds"
                )
            length = f" (for {format_duration(for_seconds)})"
        text = clip(text, MAX_ERROR_CHARS - len(length)) + length
        rules = await self._rules_to_isolate()
        return self._take(await self._store.isolate(rules, name, text, for_seconds or 0.0))

    async def deliver_alerts(self) -> int:
        """Publish the undelivered alerts of all instances and return their number.

        The method also calls due approval callbacks. A timer and the console call this method.

        Raises:
            AlertDeliveryError: an alert was not accepted; the outbox keeps the alert.
            StoreUnavailableError: the store does not answer.
        """
        await self.approvals.call_due()
        return await self._alerts.deliver()

    async def repeat_opened(self, after_seconds: float) -> bool:
        """Publish the `opened` alert again, with the same id, if nobody asked for an approval.

        Nobody has asked if the circuit is open and no workflow run of its generation waits. The
        console calls this method from time to time; of many consoles one repeats.

        Args:
            after_seconds: pause before the first repeat, since the opening. Later pauses double, up
                to `REPEAT_SECONDS_MAX`.

        Returns:
            Whether the alert was added to the outbox again.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        repeated = await self._store.repeat_opened(self._rules, after_seconds, REPEAT_SECONDS_MAX)
        if repeated:
            logger.warning(
                "circuit %s is open and nobody has asked for an approval; its alert is published "
                "again",
                self.name,
            )
            self._alerts.deliver_soon()
        return repeated

    async def history(self, limit: int = 100) -> list[HistoryEntry]:
        """Return the latest `limit` changes, newest first.

        Raises:
            StoreUnavailableError: the store does not answer.
            ValueError: the limit is below 1.
        """
        if limit < 1:
            raise ValueError(f"limit is {limit}: it takes a whole number of at least 1")
        return await self._store.history(limit)

    async def _probe(self, key: str) -> Permit:
        probe_id = uuid.uuid4().hex
        admission = await self._store.acquire(self._rules, probe_id, key)
        circuit = self._take(admission.change)
        if not admission.granted:
            wait = circuit.retry_after
            if circuit.state is CircuitState.HALF_OPEN:
                # A permit may be released long before its lease ends, and releases are not pushed.
                wait = min(admission.wait or REFUSED_WAIT_SECONDS, REFUSED_WAIT_SECONDS)
            raise self._refusal(circuit, wait)
        if circuit.state is not CircuitState.HALF_OPEN:
            return Permit(circuit.generation)
        return Permit(circuit.generation, probe_id, key)

    def _refusal(self, circuit: Circuit, retry_after: float | None) -> CircuitOpenError:
        self._instruments.count("refusals")
        return CircuitOpenError(circuit, retry_after)

    def _on_outage(self) -> None:
        self._instruments.count("store.outages")

    async def _finish_command(self, change: Change, generation: int) -> Circuit:
        """Call due callbacks and return the circuit, or raise if the command was refused."""
        circuit = self._take(change)
        if change.outcome == "stale":
            raise StaleGenerationError(circuit, generation)
        if change.outcome == "isolated":
            raise CircuitIsolatedError(circuit)
        try:
            await self.approvals.call_due()
        except StoreUnavailableError as error:
            logger.warning(
                "callbacks of circuit %s could not be called (%s); the next alert delivery of any "
                "instance calls them",
                circuit.name,
                error,
            )
        return circuit

    def _take(self, change: Change) -> Circuit:
        """Update the view with an operation's result; deliver alerts if the state changed."""
        if change.would_open:
            self._instruments.count("would_open")
            logger.warning(
                "circuit %s would have opened, but stays %s in mode observe: %s",
                change.circuit.name,
                change.circuit.state,
                change.would_open,
            )
        moved = change.transitions > 0 or change.circuit.position > self.circuit.position
        self._learn(change.circuit)
        if moved:
            self._alerts.deliver_soon()
        return change.circuit


def _operator_name(by: str) -> str:
    if not by.strip():
        raise ValueError("by is empty: it takes the name of the operator")
    return clip(escaped(by.strip()))
