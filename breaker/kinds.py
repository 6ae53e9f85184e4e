"""The kinds of circuits, which decide what an opening means for the function app."""

from __future__ import annotations

from enum import StrEnum

from breaker.names import split_name


class CircuitKind(StrEnum):
    """The scope of an open circuit; the workflow reads the kind in the alert."""

    APP = "app"
    """All events of the app; the workflow also stops the function app."""
    PIPELINE = "pipeline"
    """All events of one pipeline; the function app keeps running for the other pipelines."""
    DEPENDENCY = "dependency"
    """The events that need one dependency; the function app keeps running."""


def kind_of(circuit: str, *, stops_app: bool) -> CircuitKind:
    """Return the kind of a circuit.

    Args:
        circuit: the circuit's full name.
        stops_app: whether its opening asks the workflow to stop the app; of a dependency's circuit
            it means nothing, because such an opening never stops the app.
    """
    if split_name(circuit)[1]:
        return CircuitKind.DEPENDENCY
    return CircuitKind.APP if stops_app else CircuitKind.PIPELINE
