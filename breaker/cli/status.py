"""The output of `breakwater status`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import click

from breaker.circuit import CircuitBreaker
from breaker.cli.circuits import Circuits
from breaker.cli.lines import as_json, change_line, dependency_lines, table
from breaker.errors import StoreUnavailableError

_TIME_FIELDS: Mapping[str, Any] = {
    "as_of": None,
    "retry_after": None,
    "failed_attempts": 0,
    "last_success_at": None,
}
"""Fields that differ between two snapshots of an unchanged circuit, or change all the time."""


async def show_status(
    circuits: Circuits, dependency: str | None, *, watch: bool, as_lines: bool
) -> None:
    """Print a circuit; the app's own circuit with those of the dependencies.

    Args:
        circuits: the circuits.
        dependency: the name of a dependency; None for the app's own circuit.
        watch: print each change, without end.
        as_lines: print lines for people instead of JSON.

    Raises:
        BreakerError: Redis does not answer, or the dependency is not known.
    """
    breaker = await circuits.named(dependency)
    circuit = await breaker.refresh()
    if circuit.degraded and not circuit.problem and not watch:
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
    if as_lines:
        click.echo("\n".join([table(breaker, registration), *dependency_lines(others or {})]))
    else:
        click.echo(as_json(breaker, others, registration=registration))
    if watch:
        await (breaker if dependency is None else circuits.dependencies).start()
        await _watch(breaker, as_lines=as_lines)


async def _watch(breaker: CircuitBreaker, *, as_lines: bool) -> None:
    """Print each change of a circuit, without end."""
    circuit = breaker.circuit
    while True:
        known = circuit
        await breaker.wait_for_change(known, timeout=breaker.settings.poll_seconds)
        circuit = breaker.circuit
        if replace(circuit, **_TIME_FIELDS) == replace(known, **_TIME_FIELDS):
            continue
        click.echo(change_line(circuit) if as_lines else as_json(breaker))
