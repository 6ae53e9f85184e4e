"""The output of `breakwater status`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import click

from breaker.circuit import CircuitBreaker
from breaker.cli.circuits import Circuits
from breaker.cli.lines import change_line, dependency_lines, document, table
from breaker.errors import StoreUnavailableError
from breaker.registration import Registration

_TIME_FIELDS: Mapping[str, Any] = {
    "as_of": None,
    "retry_after": None,
    "failed_attempts": 0,
    "last_success_at": None,
}
"""Fields that differ between two snapshots of an unchanged circuit, or change all the time."""


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a circuit at one time.

    Attributes:
        breaker: the circuit.
        registration: the instances that poll the circuit; None if they are not known.
        dependencies: the circuits of the dependencies; None for the circuit of a dependency.
        chosen: the options that choose the circuit's pipeline, for the shown commands.
    """

    breaker: CircuitBreaker
    registration: Registration | None
    dependencies: Mapping[str, CircuitBreaker] | None
    chosen: str

    @classmethod
    async def read(
        cls, circuits: Circuits, dependency: str | None, *, in_outage: bool = False, chosen: str
    ) -> Self:
        """Read a circuit; the app's own circuit with those of the dependencies.

        Args:
            circuits: the circuits.
            dependency: the name of a dependency; None for the app's own circuit.
            in_outage: return the last known state if Redis does not answer.
            chosen: see `Status.chosen`.

        Raises:
            BreakerError: Redis does not answer, or the dependency is not known.
        """
        breaker = await circuits.named(dependency)
        circuit = await breaker.refresh()
        if circuit.degraded and not circuit.problem and not in_outage:
            await breaker.history(1)  # raises an error with the reason of the outage
            raise StoreUnavailableError(
                "Redis was unreachable for a moment, so the state could not be read; "
                "run the command again"
            )
        registration = None if circuit.degraded else await breaker.registration()
        others = None
        if dependency is None and not circuit.degraded:
            await circuits.dependencies.refresh()
            others = circuits.dependencies.circuits
        return cls(breaker, registration, others, chosen)

    @property
    def text(self) -> str:
        """The state as lines for people."""
        lines = [table(self.breaker, self.registration, chosen=self.chosen)]
        return "\n".join([*lines, *dependency_lines(self.dependencies or {}, chosen=self.chosen)])

    @property
    def document(self) -> dict[str, Any]:
        """The state as JSON."""
        return document(self.breaker, self.dependencies, registration=self.registration)


async def watch(breaker: CircuitBreaker, *, as_lines: bool) -> None:
    """Print each change of a circuit, without end."""
    circuit = breaker.circuit
    while True:
        known = circuit
        await breaker.wait_for_change(known, timeout=breaker.settings.poll_seconds)
        circuit = breaker.circuit
        if replace(circuit, **_TIME_FIELDS) == replace(known, **_TIME_FIELDS):
            continue
        click.echo(change_line(circuit) if as_lines else json.dumps(document(breaker)))
