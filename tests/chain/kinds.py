"""The kinds of circuits that the chain handles, and the calls that each needs."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from breaker import BreakerSettings, DependencySettings
from breaker.names import circuit_name
from tests.chain.faults import Call

DEPENDENCY = "bank"
SETTINGS = BreakerSettings(failure_threshold=1, half_open_permits=1)
PIPELINE, OTHER_PIPELINE = "orders", "audit"
"""The pipeline whose circuit opens, and the one that must not be touched."""
PIPELINE_SETTINGS, OTHER_SETTINGS = (
    replace(SETTINGS, name=f"{SETTINGS.name}-{name}", stops_app=False)
    for name in (PIPELINE, OTHER_PIPELINE)
)


class Kind(StrEnum):
    """A kind of circuit."""

    APP = "app"
    MANUAL = "manual dependency"
    AUTOMATIC = "automatic dependency"
    PIPELINE = "pipeline"

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
    def is_own(self) -> bool:
        """Return whether the circuit holds all events of its app or pipeline."""
        return self in {Kind.APP, Kind.PIPELINE}

    @property
    def noun(self) -> str:
        """The word for the circuit's owner."""
        return self.rpartition(" ")[2]

    @property
    def path(self) -> str:
        """The beginning of the paths of the console's API."""
        return f"/pipelines/{PIPELINE}/api" if self is Kind.PIPELINE else "/api"

    @property
    def circuit(self) -> str:
        """The circuit's name."""
        return self.settings.name if self.is_own else circuit_name(SETTINGS.name, DEPENDENCY)

    @property
    def own_settings(self) -> BreakerSettings:
        """The settings of the circuit of the app or the pipeline."""
        return PIPELINE_SETTINGS if self is Kind.PIPELINE else SETTINGS

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
        return self.own_settings if self.is_own else self.dependencies.of(DEPENDENCY)

    def heading(self, call: Call) -> str:
        """Return the heading of the cells with a fault of one call."""
        return str(call) if self is Kind.APP else f"{self}: {call}"
