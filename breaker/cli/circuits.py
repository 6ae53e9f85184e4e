"""The circuits that the command line shows and changes, built from the settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, fields, replace
from typing import Any

from breaker.alerts.base import AlertPublisher
from breaker.circuit import CircuitBreaker
from breaker.configuration.errors import nearest
from breaker.configuration.lookup import value_of
from breaker.dependencies.circuits import DependencyCircuits
from breaker.dependencies.settings import DependencySettings, Overrides
from breaker.errors import (
    BreakerError,
    SettingsError,
    StoreUnavailableError,
    UnknownCircuitError,
)
from breaker.registration import Seen, stated, usable
from breaker.settings import BreakerSettings
from breaker.stores.redis import Client, RedisCircuitStore, RedisDependencyStore, connect

_OF_THE_TOOL = tuple(
    each.name
    for each in fields(BreakerSettings)
    if each.name.startswith("redis_")
    or each.name in {"name", "console_url", "store_timeout_seconds", "poll_seconds"}
)
"""The settings of a tool's own connection; the others are rules of the circuit."""


class UnknownDependencyError(BreakerError):
    """A dependency that no instance of the app has used, or not for 30 days."""


@dataclass(frozen=True, slots=True)
class Circuits:
    """The app's own circuit, and those of its dependencies.

    Attributes:
        app: the app's own circuit.
        dependencies: those of the dependencies.
        unknown: the refusal, if no instance has registered the circuit and the command may use it
            all the same.
    """

    app: CircuitBreaker
    dependencies: DependencyCircuits
    unknown: UnknownCircuitError | None = None

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
async def opened(
    values: Mapping[str, str], *, in_outage: bool = False, may_be_unknown: bool = False
) -> AsyncIterator[Circuits]:
    """Open the circuits that the settings name, with the rules that the app's instances use.

    Args:
        values: the settings; those of the connection and the circuit's name count, and the rules
            count if no instance has registered any.
        in_outage: whether to open the circuits also while Redis does not answer.
        may_be_unknown: whether to open a circuit also if no instance has registered it.

    Raises:
        SettingsError: a setting is missing, unknown or out of bounds.
        UnknownCircuitError: no instance has registered the circuit, and `may_be_unknown` is not
            set.
        StoreUnavailableError: Redis does not answer.
    """
    own = _without_judging(values)
    depending = DependencySettings.from_mapping(values, own, judges=False)
    client = connect(_redis_url(values), own)
    unknown: UnknownCircuitError | None = None
    try:
        seconds = own.store_timeout_seconds
        publisher = _publisher(values)
        with suppress(StoreUnavailableError) if in_outage else nullcontext():
            try:
                depending = await _of_the_app(client, own, depending)
            except UnknownCircuitError as error:
                if not may_be_unknown:
                    raise
                unknown = error
        app = CircuitBreaker(
            RedisCircuitStore(client, own.name, timeout_seconds=seconds),
            depending.app,
            publisher=publisher,
            registers=False,
        )
        store = RedisDependencyStore(client, own.name, timeout_seconds=seconds)
        dependencies = DependencyCircuits(store, depending, publisher=publisher)
        try:
            yield Circuits(app, dependencies, unknown)
        finally:
            await dependencies.aclose()
            await app.aclose()
    finally:
        await client.aclose()


async def _of_the_app(
    client: Client, own: BreakerSettings, depending: DependencySettings
) -> DependencySettings:
    """Return the rules that the app's instances registered last; those of version 0.1 did not.

    Raises:
        UnknownCircuitError: no instance has registered the circuit.
        StoreUnavailableError: Redis does not answer.
    """
    seconds, rules = own.store_timeout_seconds, own.rules("")
    store = RedisCircuitStore(client, own.name, timeout_seconds=seconds)
    async with aclosing(CircuitBreaker(store, own, registers=False)) as circuit:
        if await circuit.check_exists() is None:
            return depending
        _, polling = await store.registered(rules)
    app, overrides = own, depending.overrides
    if polling:
        kept = {name: getattr(own, name) for name in _OF_THE_TOOL}
        found = stated(_latest(polling), own.name).settings
        app = replace(found, standstill_failures=0, **kept)
    async with aclosing(RedisDependencyStore(client, own.name, timeout_seconds=seconds)) as stores:
        _, polling = await stores.circuit("any").registered(rules)  # the same for each name
    if polling:
        found_overrides = stated(_latest(polling), own.name).overrides
        overrides = {name: _accepted(app, name, each) for name, each in found_overrides.items()}
    return DependencySettings(app, overrides, judges=False)


def _latest(polling: Iterable[Seen]) -> str:
    return max(polling, key=lambda each: each.at).text


def _accepted(app: BreakerSettings, name: str, values: Mapping[str, Any]) -> Overrides:
    """Return the overrides of a dependency; another version may have registered others."""

    def make(given: Mapping[str, Any]) -> Overrides:
        return DependencySettings(app, {name: Overrides(**given)}).overrides[name]

    return usable(make, values)


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
