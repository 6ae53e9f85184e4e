"""The checks of all circuits: the app's, and one for each dependency.

A start or a call counts for the app's circuit, and for the circuit of the dependency that the event
needs.
"""

from __future__ import annotations

from loadtest.verify.circuit_check import CircuitCheck, broken_by_circuit, broken_rules
from loadtest.verify.evidence import Evidence, RefusedCall
from loadtest.verify.expectation import Expectation
from loadtest.verify.verdict import CircuitVerdict, Diff

_BY_ITSELF = frozenset({"", "timer"})
"""The names in the history of a circuit that opens and closes by itself."""


class Circuits:
    """The checks of all circuits of a run."""

    def __init__(self, evidence: Evidence, diff: Diff) -> None:
        self._evidence = evidence
        self._app = CircuitCheck(evidence.history, diff, evidence.redis_away)
        self._dependencies = {
            name: CircuitCheck(circuit.history, diff, evidence.redis_away, name)
            for name, circuit in evidence.dependencies.items()
        }
        self._workload = evidence.workload
        self._indices = {key: index for index, key in enumerate(self._workload.key_names)}

    def _of(self, key: str, counter: int) -> list[CircuitCheck]:
        index = self._indices.get(key)
        name = "" if index is None else self._workload.needs(index, counter)
        return [self._app, self._dependencies[name]] if name in self._dependencies else [self._app]

    def refused(self, call: RefusedCall) -> None:
        """Record a call that the downstream refused."""
        for check in self._of(call.key, call.counter):
            check.refused(call.at_us)

    def called(self, key: str, counter: int, at_us: int) -> None:
        """Record a downstream call."""
        for check in self._of(key, counter):
            check.called(key, counter, at_us)

    def started(self, key: str, counter: int, at_us: int) -> None:
        """Record an event's first downstream call."""
        for check in self._of(key, counter):
            check.started(key, counter, at_us)

    def handled(self, key: str, counter: int, at_us: int) -> None:
        """Record the time at which an event was handled."""
        for check in self._of(key, counter):
            check.handled(at_us)

    def app(self, *, missing: bool) -> CircuitVerdict:
        """Return the figures of the app's circuit; `missing` is whether events were lost."""
        evidence = self._evidence
        return self._app.verdict(evidence.alerts, evidence.circuit_state, missing=missing)

    def dependencies(self, *, missing: bool) -> dict[str, CircuitVerdict]:
        """Return the figures of each dependency's circuit."""
        return {
            name: check.verdict(circuit.alerts, circuit.state, missing=missing)
            for (name, circuit), check in zip(
                self._evidence.dependencies.items(), self._dependencies.values(), strict=True
            )
        }

    def broken(
        self, app: CircuitVerdict, dependencies: dict[str, CircuitVerdict], wanted: Expectation
    ) -> list[str]:
        """Return one line for each promise or expectation that a circuit broke."""
        lines = broken_by_circuit(app, wanted)
        for name, circuit in dependencies.items():
            lines += [f"{name}: {line}" for line in broken_rules(circuit)]
            lines += self._broken_openings(name, circuit, wanted.dependency_openings.get(name))
        return lines

    def _broken_openings(
        self, name: str, circuit: CircuitVerdict, expected: tuple[int, int] | None
    ) -> list[str]:
        if expected is None:
            return []
        lines = []
        least, most = expected
        if not least <= circuit.opened <= most:
            wanted = f"{least}" if least == most else f"{least} to {most}"
            lines.append(f"{name}: the circuit opened {circuit.opened} times, expected {wanted}")
        history = self._evidence.dependencies[name].history
        lines += [
            f"{name}: {each.by} moved the circuit ({each.event}), expected nobody"
            for each in history
            if each.by not in _BY_ITSELF
        ]
        return lines
