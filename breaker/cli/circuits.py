"""The circuits that the command line shows and changes, built from the settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from breaker.alerts.base import AlertPublisher
from breaker.circuit import CircuitBreaker
from breaker.configuration.errors import nearest
from breaker.configuration.lookup import value_of
from breaker.dependencies.circuits import DependencyCircuits
from breaker.dependencies.settings import DependencySettings
from breaker.errors import BreakerError, SettingsError
from breaker.settings import BreakerSettings
from breaker.stores.redis import RedisCircuitStore, RedisDependencyStore, connect


class UnknownDependencyError(BreakerError):
    """A dependency that no instance of the app has used, or not for 30 days."""


@dataclass(frozen=True, slots=True)
class Circuits:
    """The app's own circuit, and those of its dependencies."""

    app: CircuitBreaker
    dependencies: DependencyCircuits

    async def named(self, dependency: str | None) -> CircuitBreaker:
        """Return the circuit of a dependency; without a name the app's own.

        Raises:
            UnknownDependencyError: the name is not registered. An action on such a circuit would
                have no effect on any event.
            StoreUnavailableError: the store does not answer.
        """
        if dependency is None:
            return self.app
        await self.dependencies.refresh()
        known = self.dependencies.circuits
        found = known.get(dependency.lower())
        if found is None:
            names = ", ".join(sorted(known)) or "none"
            near = nearest(dependency, known, cutoff=0.6)
            hint = f"; did you mean {near}?" if near else ""
            raise UnknownDependencyError(
                f"no instance has used the dependency {dependency!r:.100} in the last 30 days; "
                f"known dependencies: {names}{hint}"
            )
        return found


def build(values: Mapping[str, str]) -> CircuitBreaker:
    """Return the app's circuit that the settings describe; it connects on first use."""
    settings = _without_judging(values)
    store = RedisCircuitStore.from_settings(_redis_url(values), settings)
    return CircuitBreaker(store, settings, publisher=_publisher(values), registers=False)


@asynccontextmanager
async def opened(values: Mapping[str, str]) -> AsyncIterator[Circuits]:
    """Open the circuits that the settings describe; they connect on first use.

    Raises:
        SettingsError: a setting is missing, unknown or out of bounds.
    """
    settings = _without_judging(values)
    depending = DependencySettings.from_mapping(values, settings, judges=False)
    client = connect(_redis_url(values), settings)
    try:
        seconds = settings.store_timeout_seconds
        publisher = _publisher(values)
        app = CircuitBreaker(
            RedisCircuitStore(client, settings.name, timeout_seconds=seconds),
            settings,
            publisher=publisher,
            registers=False,
        )
        store = RedisDependencyStore(client, settings.name, timeout_seconds=seconds)
        dependencies = DependencyCircuits(store, depending, publisher=publisher)
        try:
            yield Circuits(app, dependencies)
        finally:
            await dependencies.aclose()
            await app.aclose()
    finally:
        await client.aclose()


def _redis_url(values: Mapping[str, str]) -> str:
    url = value_of(values, "REDIS_URL")
    if not url:
        raise SettingsError("REDIS_URL is not set: it takes redis://host:port/db or rediss://...")
    return url


def _without_judging(values: Mapping[str, str]) -> BreakerSettings:
    """Return the settings of the app's circuit without the standstill rule.

    Only instances that process events judge a standstill: a command line may have other settings
    than the app, and its look must not open the circuit.
    """
    return replace(BreakerSettings.from_mapping(values), standstill_failures=0)


def _publisher(values: Mapping[str, str]) -> AlertPublisher | None:
    endpoint = value_of(values, "EVENT_GRID_TOPIC_ENDPOINT")
    if not endpoint:
        return None
    from breaker.alerts.event_grid import EventGridPublisher  # noqa: PLC0415 - loads an Azure SDK

    return EventGridPublisher(endpoint, key=value_of(values, "EVENT_GRID_TOPIC_KEY") or None)
