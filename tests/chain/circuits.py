"""The circuits of one process of the chain: the app's, and those of the dependencies."""

from __future__ import annotations

from typing import Self

from breaker import CircuitBreaker, DependencyCircuits
from breaker.alerts.base import AlertPublisher
from breaker.approvals import Caller
from tests.chain.clocks import BreakerClock, PollClock, Pulse
from tests.chain.kinds import DEPENDENCY, SETTINGS, Kind
from tests.chain.store import Stores


class ProcessCircuits:
    """The circuits of one process.

    Dependencies are watched, with polls at the moments of the world. The app's circuit is not.

    Args:
        kind: the kind of the circuit that opens.
        stores: the stores of all circuits.
        pulse: the moments of the polls.
        publisher: the destination of the alerts.
        caller: calls the workflow back.
        instance: the name of the process.
    """

    def __init__(
        self,
        kind: Kind,
        stores: Stores,
        pulse: Pulse,
        *,
        publisher: AlertPublisher | None,
        caller: Caller,
        instance: str,
    ) -> None:
        self._kind = kind
        self.app = CircuitBreaker(
            stores.app,
            kind.own_settings,
            publisher=publisher,
            clock=BreakerClock(pulse.clock),
            instance=instance,
            caller=caller,
        )
        self.dependencies = DependencyCircuits(
            stores.dependencies,
            kind.dependencies,
            publisher=publisher,
            clock=PollClock(pulse, SETTINGS.poll_seconds),
            instance=instance,
            caller=caller,
        )

    @property
    def own(self) -> CircuitBreaker | None:
        """The circuit that opens; None while this process does not know the dependency."""
        if self._kind.is_own:
            return self.app
        return self.dependencies.circuits.get(DEPENDENCY)

    async def use(self) -> CircuitBreaker:
        """Return the circuit that opens, as an instance of the app uses the circuit."""
        if self._kind.is_own:
            return self.app
        found = await self.dependencies.use(DEPENDENCY)
        assert found is not None
        return found

    async def start(self) -> Self:
        if not self._kind.is_own:
            await self.dependencies.start()
        return self

    async def aclose(self) -> None:
        await self.dependencies.aclose()
        await self.app.aclose()
