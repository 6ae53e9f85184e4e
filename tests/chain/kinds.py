"""The kinds of circuits that the chain handles, and the calls that each needs."""

from __future__ import annotations

from enum import StrEnum

from breaker import BreakerSettings, DependencySettings
from breaker.names import circuit_name
from tests.chain.faults import Call

DEPENDENCY = "bank"
SETTINGS = BreakerSettings(failure_threshold=1, half_open_permits=1)


class Kind(StrEnum):
    """A kind of circuit."""

    APP = "app"
    MANUAL = "manual dependency"
    AUTOMATIC = "automatic dependency"

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls of the chain for this kind, in the order of the chain."""
        if self is Kind.APP:
            return tuple(Call)
        if self is Kind.AUTOMATIC:
            return (Call.PUBLISH, Call.DELIVER)
        of_app = {Call.STOP, Call.LOOK_UP_AGAIN, Call.START}
        return tuple(call for call in Call if call not in of_app)

    @property
    def circuit(self) -> str:
        """The circuit's name."""
        app = SETTINGS.name
        return app if self is Kind.APP else circuit_name(app, DEPENDENCY)

    @property
    def dependencies(self) -> DependencySettings:
        """The settings of the circuits of dependencies."""
        recovery = "manual" if self is Kind.MANUAL else "automatic"
        return DependencySettings.from_mapping(
            {f"DEPENDENCY_{DEPENDENCY.upper()}_RECOVERY": recovery}, SETTINGS
        )

    @property
    def settings(self) -> BreakerSettings:
        """The settings of the circuit."""
        return SETTINGS if self is Kind.APP else self.dependencies.of(DEPENDENCY)

    def heading(self, call: Call) -> str:
        """Return the heading of the cells with a fault of one call."""
        return str(call) if self is Kind.APP else f"{self}: {call}"
