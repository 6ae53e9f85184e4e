"""The circuit of one dependency, which is watched together with the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from breaker.alerts.base import Alert, AlertPublisher
from breaker.approvals import Caller
from breaker.circuit import CircuitBreaker
from breaker.clock import Clock
from breaker.dependencies.settings import stated_settings
from breaker.names import split_name
from breaker.registration import stated
from breaker.settings import BreakerSettings
from breaker.state import Circuit, Rules
from breaker.stores.base import CircuitStore

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter


class DependencyCircuit(CircuitBreaker):
    """A circuit breaker without tasks of its own; its owner polls and subscribes for all.

    Args:
        store: the store of the circuit.
        settings: the rules.
        publisher: destination of alerts, which the caller closes.
        clock: measures elapsed time and sleeps.
        instance: name of this instance in history and alerts.
        meter: receiver of the measurements.
        caller: client that posts approval callbacks; None for HTTP.
        watched: returns whether the owner watches the circuit.
    """

    def __init__(
        self,
        store: CircuitStore,
        settings: BreakerSettings,
        *,
        publisher: AlertPublisher | None,
        clock: Clock,
        instance: str,
        meter: Meter | None,
        caller: Caller | None,
        watched: Callable[[], bool],
    ) -> None:
        super().__init__(
            store,
            settings,
            publisher=None if publisher is None else _Borrowed(publisher),
            clock=clock,
            instance=instance,
            meter=meter,
            registers=False,  # the owner registers for all
            caller=caller,
        )
        self._watched = watched

    @property
    def is_watched(self) -> bool:
        """Return whether pushes and polls update `circuit`."""
        return self._watched()

    @property
    def rules(self) -> Rules:
        """The circuit's rules in a store's units."""
        return self._rules

    def _stated(self, text: str) -> tuple[str, BreakerSettings]:
        app, dependency = split_name(self.name)
        found = stated(text, app)
        return found.version, stated_settings(found, dependency)

    async def start(self) -> None:
        """Take a first snapshot; during a store outage, start on hold."""
        await self.refresh()

    async def receive(self, pushed: Circuit) -> None:
        """Take a pushed state; in an outage the push only triggers a poll."""
        if self._store.away:
            await self.refresh()
        else:
            self._store.learn(pushed)
            self._learn(pushed)


class _Borrowed:
    """A publisher that is closed by another owner."""

    def __init__(self, publisher: AlertPublisher) -> None:
        self._publisher = publisher

    async def publish(self, alert: Alert) -> None:
        """See `AlertPublisher.publish`."""
        await self._publisher.publish(alert)

    async def aclose(self) -> None:
        """Do nothing."""
