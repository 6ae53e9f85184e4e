"""The names of the Redis keys that a load test uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Keys:
    """The names of the Redis keys of one run and one circuit.

    Attributes:
        pipeline: the pipeline whose lists are read; "" for an app with one pipeline.
    """

    run: str
    circuit_name: str
    event_keys: Sequence[str] = field(repr=False)
    pipeline: str = ""

    def ledger(self, name: str) -> str:
        """Return the name of a key of the run's ledger."""
        return f"ledger:{{{self.run}}}:{name}"

    def circuit(self, name: str) -> str:
        """Return the name of a key of the app's circuit."""
        return f"breaker:{{{self.circuit_name}}}:{name}"

    def dependency_circuit(self, dependency: str, name: str) -> str:
        """Return the name of a key of a dependency's circuit, in the slot of the app's."""
        return f"breaker:{{{self.circuit_name}}}/{dependency}:{name}"
