"""The lines that the circuit's commands print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from breaker.circuit import CircuitBreaker
from breaker.configuration.one_line import escaped
from breaker.duration import format_duration
from breaker.names import split_name
from breaker.registration import Registration
from breaker.settings import Mode, Recovery
from breaker.state import PROBE_FAILURES, Circuit, CircuitState, HistoryEntry

NEVER_REGISTERED = (
    "no instance has registered the circuit (those of version 0.1 do not); BREAKER_NAME and "
    "REDIS_URL must be those of the app"
)
MOST_INSTANCES = 5
"""Greatest number of instances that a line names."""


def document(
    circuit: CircuitBreaker,
    dependencies: Mapping[str, CircuitBreaker] | None = None,
    *,
    registration: Registration | None = None,
) -> dict[str, Any]:
    """Return a circuit as a JSON object.

    Args:
        circuit: the circuit.
        dependencies: the circuits of the dependencies, if the circuit is the app's own.
        registration: the instances that poll the circuit.
    """
    found = _fields(circuit)
    if registration is not None:
        found["instances"] = [each.name for each in registration.alive]
        found["last_seen"] = registration.last_seen
        found["version"] = registration.version
        found["differences"] = registration.differences
    if dependencies is not None:
        found["dependencies"] = [
            {"dependency": name} | _fields(each) for name, each in sorted(dependencies.items())
        ]
    return found


def _fields(breaker: CircuitBreaker) -> dict[str, Any]:
    settings = breaker.settings
    return asdict(breaker.circuit) | {
        "stops_app": breaker.stops_app,
        "mode": settings.mode,
        "recovery": settings.recovery,
    }


def table(
    breaker: CircuitBreaker, registration: Registration | None = None, *, chosen: str = ""
) -> str:
    """Return a circuit's state as lines with a name and a value each.

    Args:
        breaker: the circuit.
        registration: the instances that poll the circuit.
        chosen: the options that choose the circuit's pipeline, for the shown commands.
    """
    circuit = breaker.circuit
    if circuit.degraded and not circuit.problem:
        unknown = "not known, because Redis does not answer; each change will be shown"
        return f"{'circuit':<10} {circuit.name}\n{'state':<10} {unknown}"
    rows = {
        "circuit": circuit.name,
        "state": f"{circuit.state} (generation {circuit.generation})",
        "reason": circuit.reason or "-",
        "failures": f"{circuit.failures} of {circuit.failure_threshold} "
        f"in {circuit.window_seconds:g} s",
    }
    if circuit.state is CircuitState.CLOSED:  # the count ends with the opening
        last = _when(circuit.last_success_at)
        rows["attempts"] = f"{circuit.failed_attempts} failed since the last success ({last})"
    rows |= {
        "opened": _when(circuit.opened_at),
        "changed": _when(circuit.changed_at) + (f" by {circuit.by}" if circuit.by else ""),
    }
    if circuit.problem:
        rows["problem"] = circuit.problem
    if not breaker.stops_app and not split_name(circuit.name)[1]:
        rows["scope"] = "one pipeline: an opening holds its events, and does not stop the app"
    elif breaker.stops_app and chosen:
        rows["scope"] = "the app: an opening stops the app, with all its pipelines"
    if breaker.settings.mode is Mode.OBSERVE:
        rows["mode"] = "observe: no rule opens the circuit; the history says when one would have"
    if circuit.retry_after is not None or circuit.state is CircuitState.ISOLATED:
        rows["next state"] = next_state(breaker, chosen=chosen)
    if circuit.state is CircuitState.HALF_OPEN:
        failed = f"{circuit.probe_failures} of {PROBE_FAILURES} failed"
        rows["probes"] = f"{circuit.probe_successes} succeeded, {failed}"
    if registration is not None:
        rows["instances"] = _instances(registration, are_noted=not circuit.problem)
    elif not (circuit.degraded or split_name(circuit.name)[1]):
        rows["instances"] = f"none: {NEVER_REGISTERED}"
    lines = [f"{name:<10} {escaped(value)}" for name, value in rows.items()]
    if registration is not None:
        lines += _differences(registration)
    return "\n".join(lines)


def _instances(registration: Registration, *, are_noted: bool) -> str:
    if not registration.alive and not are_noted:
        seen = _when(registration.last_seen)
        return f"not known, because Redis takes no writes; the last noted poll was at {seen}"
    if not registration.alive:
        return f"none polls the circuit; the last poll was at {_when(registration.last_seen)}"
    names = [each.name for each in registration.alive[:MOST_INSTANCES]]
    if (more := len(registration.alive) - len(names)) > 0:
        names.append(f"and {more:,} more")
    versions = sorted({each.version for each in registration.alive})
    return f"{', '.join(names)} (version {', '.join(versions)})"


def _differences(registration: Registration) -> list[str]:
    """Return a line for each setting that the instances do not agree on."""
    return [
        f"The instances differ in {name}: "
        + "; ".join(
            f"{value} on {', '.join(names[:MOST_INSTANCES])}" for value, names in texts.items()
        )
        for name, texts in registration.differences.items()
    ]


def dependency_lines(dependencies: Mapping[str, CircuitBreaker], *, chosen: str = "") -> list[str]:
    """Return a heading and a line for each dependency's circuit; nothing without dependencies."""
    if not dependencies:
        return []
    width = max(map(len, dependencies))
    lines = ["", f"dependencies (`status {chosen}--dependency NAME` shows more):"]
    for name, breaker in sorted(dependencies.items()):
        circuit = breaker.circuit
        observed = ", mode observe" if breaker.settings.mode is Mode.OBSERVE else ""
        lines.append(
            f"  {name:<{width}} {circuit.state} (generation {circuit.generation}{observed})"
            f" since {_when(circuit.changed_at)}: {escaped(circuit.reason) or '-'}"
        )
    return lines


def next_state(breaker: CircuitBreaker, *, chosen: str = "") -> str:
    """Return which state follows an open or isolated state, and when; see `table`."""
    circuit = breaker.circuit
    _, dependency = split_name(circuit.name)
    named = f"--dependency {dependency} " if dependency else ""
    close = f"`close {chosen}{named}--generation {circuit.generation}`"
    if circuit.state is CircuitState.CLOSED:
        return "closed"
    if circuit.retry_after is None:
        return f"{close} ends the isolation"
    if circuit.state is not CircuitState.ISOLATED:
        return f"half-open in {circuit.retry_after:.0f} s"
    if circuit.ends_as is CircuitState.CLOSED:
        after = "closed"
    elif breaker.settings.recovery is Recovery.MANUAL:
        after = "open, which asks for an approval,"
    else:
        after = "open, for a break,"
    ends = f"in {format_duration(circuit.retry_after)} ({_when(circuit.resume_at)})"
    return f"{after} {ends}; {close} ends the isolation earlier"


def change_line(circuit: Circuit) -> str:
    """Return a circuit's state as one line."""
    why = "takes no writes" if circuit.problem else "does not answer"
    degraded = f" (Redis {why})" if circuit.degraded else ""
    return (
        f"{_when(circuit.as_of)}  {circuit.name}: {circuit.state}{degraded}, "
        f"generation {circuit.generation}, "
        f"{circuit.failures}/{circuit.failure_threshold} failures: {escaped(circuit.reason) or '-'}"
    )


def history_line(entry: HistoryEntry) -> str:
    """Return an entry of the history as one line."""
    change = f"{entry.event} by {entry.by}" if entry.by else entry.event
    why = f": {entry.reason}" if entry.reason not in {"", change} else ""
    return escaped(f"{_when(entry.at)}  {entry.generation:>4}  {change}{why}  [{entry.instance}]")


def _when(at: float | None) -> str:
    if at is None:
        return "-"
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"
