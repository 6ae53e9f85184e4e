"""What the breaker raises.

BreakerError
├── CircuitOpenError        nothing may start now (`circuit`, `retry_after`)
├── StaleGenerationError    an operator named a generation that is not the current one (`circuit`)
├── CircuitIsolatedError    approving does not end an isolation; only closing by hand does
├── StoreUnavailableError   the shared store did not answer, or not in time
├── AlertDeliveryError      an alert could not be published; it stays in the outbox
├── CallbackRefusedError    a callback that cannot be registered (bad address, too many)
└── SettingsError           a setting that is unknown, malformed or out of range
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from breaker.configuration.errors import ConfigurationError

if TYPE_CHECKING:
    from breaker.state import Circuit


class BreakerError(Exception):
    """Base of everything that this package raises on purpose."""


class CircuitOpenError(BreakerError):
    """Nothing may start: the circuit is open, isolated, out of probe permits, or on hold.

    Attributes:
        circuit: the snapshot that the refusal was based on.
        retry_after: seconds after which asking again makes sense; None when only an operator
            can change it.
    """

    def __init__(self, circuit: Circuit, retry_after: float | None = None) -> None:
        self.circuit = circuit
        self.retry_after = retry_after
        what = "on hold, its store does not answer" if circuit.holding else str(circuit.state)
        detail = f": {circuit.reason}" if circuit.reason else ""
        super().__init__(
            f"circuit {circuit.name!r} is {what} (generation {circuit.generation}){detail}"
        )


class StaleGenerationError(BreakerError):
    """The named generation is not the circuit's current one; nothing was changed."""

    def __init__(self, circuit: Circuit, generation: int) -> None:
        self.circuit = circuit
        self.generation = generation
        super().__init__(
            f"generation {generation} of circuit {circuit.name!r} is not the current one: "
            f"it is {circuit.state} in generation {circuit.generation}; nothing was changed"
        )


class CircuitIsolatedError(BreakerError):
    """The circuit was isolated by hand and is ended only by closing it by hand."""

    def __init__(self, circuit: Circuit) -> None:
        self.circuit = circuit
        super().__init__(
            f"circuit {circuit.name!r} is isolated (generation {circuit.generation}, "
            f"by {circuit.by or 'unknown'}): approving does not end an isolation, close it instead"
        )


class StoreUnavailableError(BreakerError):
    """The store could not be asked; the driver's own exception is the cause."""


class AlertDeliveryError(BreakerError):
    """An alert was not accepted; it and those behind it stay in the outbox.

    Attributes:
        alert_id: the alert that failed.
        delivered: how many were published before it.
    """

    def __init__(self, alert_id: str, delivered: int, cause: BaseException) -> None:
        self.alert_id = alert_id
        self.delivered = delivered
        super().__init__(
            f"alert {alert_id} could not be published ({type(cause).__name__}: {cause}); "
            f"it stays in the outbox ({delivered} published before it)"
        )


class CallbackRefusedError(BreakerError, ValueError):
    """The callback cannot be registered; the message says why."""


class SettingsError(BreakerError, ConfigurationError):
    """A setting cannot be used; the message names it, what it got and what it takes."""
