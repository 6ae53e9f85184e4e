"""The methods of a circuit breaker about the instances that have registered its circuit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

from breaker.errors import StoreUnavailableError, UnknownCircuitError
from breaker.kinds import CircuitKind, kind_of
from breaker.names import split_name
from breaker.registration import Registration, registration_of, stated
from breaker.settings import BreakerSettings
from breaker.state import Circuit, CircuitState, Rules
from breaker.stores.fallback import FallbackStore


class RegisteredCircuit(ABC):
    """A circuit whose instances register with their polls.

    Attributes:
        settings: the rules of this instance or tool.
    """

    settings: BreakerSettings
    circuit: Circuit
    _store: FallbackStore
    _rules: Rules
    _registered_stop: bool | None = None

    @property
    @abstractmethod
    def name(self) -> str:
        """The circuit's name."""

    @abstractmethod
    async def refresh(self) -> Circuit:
        """Return the store's state."""

    @property
    def stops_app(self) -> bool:
        """Return whether the current opening, or of a closed circuit the next one, stops the app.

        The opener has decided on the current opening. For the next one a tool uses the setting that
        the last read of `registration` found, because a tool may have other settings than the app.
        An opening of a dependency's circuit never stops the app.
        """
        if self.circuit.state is not CircuitState.CLOSED:
            return self.circuit.kind is CircuitKind.APP
        next_stops = self._registered_stop
        if next_stops is None:
            next_stops = self.settings.stops_app
        return kind_of(self.name, stops_app=next_stops) is CircuitKind.APP

    async def registration(self) -> Registration | None:
        """Return the instances that poll this circuit, with their settings.

        Returns:
            None if no instance has registered the circuit within `registration.KEPT_SECONDS`.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        now, seen = await self._store.registered(self._rules)
        found = registration_of(self.name, now, seen, self._stated)
        if found is not None and self._is_tool:
            self._registered_stop = found.settings.stops_app
        return found

    async def circuits(self) -> frozenset[str]:
        """Return the names of all apps' circuits in this store that instances have registered.

        Raises:
            StoreUnavailableError: the store does not answer, or refuses the search.
        """
        return await self._store.names()

    async def check_exists(self) -> Registration | None:
        """Return the registration of a circuit, or refuse a name that nobody uses.

        Returns:
            None if the circuit has a state in the store and no registration: the instances that
            polled it were of a version that registered nothing.

        Raises:
            UnknownCircuitError: no instance has registered the circuit, and it has no state.
            StoreUnavailableError: the store does not answer.
        """
        found = await self.registration()
        if found is not None:
            return found
        circuit = await self.refresh()
        if circuit.generation or circuit.last_success_at is not None or circuit.failures:
            return None
        try:
            known = await self.circuits()
        except StoreUnavailableError:
            known = None
        raise UnknownCircuitError(self.name, known)

    @property
    def _is_tool(self) -> bool:
        return not self._rules.registration

    async def _rules_to_isolate(self) -> Rules:
        """Return the rules with the app's `stops_app`, which the isolation keeps until its end.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        if self._is_tool and not split_name(self.name)[1]:
            await self.registration()
        stops = self._registered_stop
        return self._rules if stops is None else replace(self._rules, stops_app=stops)

    def _stated(self, text: str) -> tuple[str, BreakerSettings]:
        """Return the version and this circuit's settings in an instance's stored text."""
        found = stated(text, split_name(self.name)[0])
        return found.version, found.settings
