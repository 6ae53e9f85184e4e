"""The circuits of an app's dependencies: one registry, one poll and one subscription for all."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Mapping
from contextlib import aclosing
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Self

from breaker.alerts.base import AlertPublisher
from breaker.approvals import Caller
from breaker.circuit import CircuitBreaker
from breaker.clock import Clock, SystemClock
from breaker.dependencies.circuit import DependencyCircuit
from breaker.dependencies.settings import DependencySettings
from breaker.errors import StoreUnavailableError
from breaker.names import dependency_name
from breaker.registration import Poller
from breaker.state import Rules, clip
from breaker.stores.dependencies import UNUSED_SECONDS, DependencyStore
from breaker.watcher import Watching

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

logger = logging.getLogger(__name__)

NOTE_SECONDS = 3_600.0
"""Least time between two notes in the registry that a name is used."""
LOGGED_NAMES = 1_000
"""Greatest number of refused names that are logged, each once."""


class DependencyCircuits:
    """The circuits of one app's dependencies, one `CircuitBreaker` each, for one instance.

    Use the circuits as an async context manager, or call `start` and `aclose`.

    Args:
        store: the registry and the stores of the circuits, shared by the fleet.
        settings: the rules, the same on all instances.
        publisher: destination of alerts, which the caller closes after the circuits; None leaves
            the alerts in the outboxes to other instances.
        clock: measures elapsed time and sleeps; the store's clock decides about breaks and leases.
        instance: name of this instance in history and alerts; default "host:pid".
        meter: receiver of the measurements; default as for `CircuitBreaker`.
        caller: client that posts approval callbacks, closed with each circuit; default HTTP.
        registers: whether polls register this instance; default as `settings.judges`.
    """

    def __init__(
        self,
        store: DependencyStore,
        settings: DependencySettings,
        *,
        publisher: AlertPublisher | None = None,
        clock: Clock | None = None,
        instance: str | None = None,
        meter: Meter | None = None,
        caller: Caller | None = None,
        registers: bool | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._publisher = publisher
        self._clock = clock or SystemClock()
        self._instance = clip(instance or f"{socket.gethostname()}:{os.getpid()}")
        self._meter = meter
        self._caller = caller
        self._most = settings.app.max_dependencies
        self._poller: Poller | None = None
        if settings.judges if registers is None else registers:
            self._poller = Poller(self._instance, settings.text)
        self._circuits: dict[str, DependencyCircuit] = {}
        self._registered: frozenset[str] = frozenset()
        self._used: set[str] = set()
        self._used_at: dict[str, float] = {}
        self._noted_at: dict[str, float] = {}
        self._joining: dict[str, asyncio.Task[DependencyCircuit | None]] = {}
        self._refused: set[str] = set()
        self._watching = Watching(
            f"{store.app}/*",
            listen=self._listen,
            poll=self.refresh,
            poll_seconds=settings.app.poll_seconds,
            clock=self._clock,
        )

    @property
    def circuits(self) -> Mapping[str, CircuitBreaker]:
        """The circuit of each known dependency by its name, also of those that others use."""
        return MappingProxyType(self._circuits)

    @property
    def settings(self) -> DependencySettings:
        """The settings, as given."""
        return self._settings

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
        """Read the registered names and the states of their circuits, and start watching.

        During a store outage no name is known until its first use or the end of the outage.
        """
        try:
            await self.refresh()
        except StoreUnavailableError as error:
            logger.warning("%s; the dependencies of other instances are not known yet", error)
        self._watching.start()

    async def aclose(self) -> None:
        """Stop watching, wait for alerts that are being published, and close connections."""
        await self._watching.aclose()
        for task in self._joining.values():
            task.cancel()
        await asyncio.gather(*self._joining.values(), return_exceptions=True)
        circuits, self._circuits = self._circuits, {}
        await asyncio.gather(*(circuit.aclose() for circuit in circuits.values()))
        await self._store.aclose()

    def find(self, name: str) -> CircuitBreaker | None:
        """Return the circuit of a dependency that is about to be used; does no I/O.

        Returns:
            The circuit, or None if this instance does not know it yet; `use` waits for it.
        """
        found = self._circuits.get(name)
        if found is None:
            name = name.lower()
            found = self._circuits.get(name)
        if found is not None:
            self._used.add(name)
        return found

    async def use(self, name: str) -> CircuitBreaker | None:
        """Return the circuit of a dependency, and register a new name in one round trip.

        During a store outage the new circuit holds like the app's own, and the name is registered
        after the outage.

        Args:
            name: the name of the dependency: 1 to 32 letters, digits, '-', '_' or '.'; capitals
                make no difference.

        Returns:
            The circuit with its present state. None if the name is not valid or is one more than
            `max_dependencies`; the failures then count for the app's circuit. The first such use of
            each name is logged.
        """
        found = self.find(name)
        if found is not None:
            return found
        try:
            checked = dependency_name(name)
        except ValueError as error:
            self._log_refusal(name, str(error))
            return None
        joining = self._joining.get(checked)
        if joining is None:
            if checked not in self._registered and len(self._registered) >= self._most:
                self._refuse(checked)
                return None
            joining = asyncio.create_task(self._join(checked), name="breaker-dependency")
            self._joining[checked] = joining
            joining.add_done_callback(lambda _: self._joining.pop(checked, None))
        # Shielded, because other events may wait for the same circuit.
        return await asyncio.shield(joining)

    async def deliver_alerts(self) -> int:
        """Publish the undelivered alerts of all dependencies' circuits and return their number.

        The method also calls due approval callbacks. A circuit that never opened has neither, so it
        costs no request.

        Raises:
            AlertDeliveryError: an alert was not accepted; the other circuits' were tried, too.
            StoreUnavailableError: the store does not answer.
        """
        opened = [each for each in self._circuits.values() if each.circuit.generation > 0]
        results = await asyncio.gather(
            *(each.deliver_alerts() for each in opened), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return sum(result for result in results if isinstance(result, int))

    async def refresh(self) -> None:
        """Poll all circuits and the registry in one round trip.

        New names of other instances take a second one.

        Raises:
            StoreUnavailableError: the store does not answer; the circuits hold as the app's own.
        """
        now = self._clock.monotonic()
        used, self._used = self._used, set()
        self._used_at.update(dict.fromkeys(used, now))
        due = [name for name in self._used_at if self._note_is_due(name, now)]
        results = await asyncio.gather(
            self._store.register(due, self._most, self._poller),
            *(circuit.refresh() for circuit in self._circuits.values()),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        registered = results[0]
        assert isinstance(registered, frozenset)  # noqa: S101 - the result of `register`
        self._noted_at.update(dict.fromkeys(due, now))
        await self._follow(registered, now)

    async def _join(self, name: str) -> DependencyCircuit | None:
        """Register a name and return its circuit; None if no place is free."""
        circuit = self._new(name)
        registered, _ = await asyncio.gather(
            self._store.register((name,), self._most), circuit.refresh(), return_exceptions=True
        )
        now = self._clock.monotonic()
        if isinstance(registered, StoreUnavailableError):
            refused = len(self._circuits) >= self._most
        elif isinstance(registered, BaseException):
            await circuit.aclose()
            raise registered
        else:
            self._registered = registered
            self._noted_at[name] = now
            refused = name not in registered
        known = self._circuits.get(name)  # a poll may have found the name at the same time
        if refused or known is not None:
            await circuit.aclose()
        if refused and known is None:
            self._refuse(name)
            return None
        self._used.add(name)
        self._used_at[name] = now
        return self._circuits.setdefault(name, circuit)

    def _new(self, name: str) -> DependencyCircuit:
        return DependencyCircuit(
            self._store.circuit(name),
            self._settings.of(name),
            publisher=self._publisher,
            clock=self._clock,
            instance=self._instance,
            meter=self._meter,
            caller=self._caller,
            watched=lambda: self._watching.running,
        )

    def _note_is_due(self, name: str, now: float) -> bool:
        """Return whether the registry does not know a use of a name by this instance.

        A name that the registry has lost is registered again.
        """
        used_at = self._used_at[name]
        if name not in self._registered:
            return now - used_at < UNUSED_SECONDS
        noted_at = self._noted_at.get(name)
        return noted_at is None or (used_at > noted_at and now - noted_at >= NOTE_SECONDS)

    async def _follow(self, registered: frozenset[str], now: float) -> None:
        """Watch the circuits of new names, and drop those of names without a place."""
        self._registered = registered
        fresh = {name: self._new(name) for name in registered - self._circuits.keys()}
        await asyncio.gather(*(circuit.refresh() for circuit in fresh.values()))
        for name, circuit in fresh.items():
            if self._circuits.setdefault(name, circuit) is not circuit:
                await circuit.aclose()
        for name in self._circuits.keys() - self._registered - self._joining.keys():
            if len(registered) >= self._most:
                self._refuse(name)
            elif name in self._used_at and now - self._used_at[name] < UNUSED_SECONDS:
                continue  # the next poll registers the name again
            self._used_at.pop(name, None)
            self._noted_at.pop(name, None)
            if (dropped := self._circuits.pop(name, None)) is not None:
                await dropped.aclose()

    async def _listen(self) -> None:
        async with aclosing(self._store.changes(self._rules_of)) as changes:
            async for change in changes:
                circuit = None if change is None else self._circuits.get(change[0])
                if change is None or circuit is None or change[1] is None:
                    await self.refresh()
                else:
                    await circuit.receive(change[1])

    def _rules_of(self, name: str) -> Rules | None:
        circuit = self._circuits.get(name)
        return None if circuit is None else circuit.rules

    def _refuse(self, name: str) -> None:
        self._log_refusal(
            name,
            f"the app has {self._most} dependencies already (BREAKER_MAX_DEPENDENCIES)",
        )

    def _log_refusal(self, name: str, reason: str) -> None:
        if name in self._refused or len(self._refused) >= LOGGED_NAMES:
            return
        self._refused.add(name)
        logger.warning(
            "dependency %.100r gets no circuit of its own, and its failures count for circuit %s: "
            "%s",
            name,
            self._store.app,
            reason,
        )
