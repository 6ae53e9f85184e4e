"""The errors of the breaker.

BreakerError
├── CircuitOpenError        nothing may start now (`circuit`, `retry_after`)
├── StaleGenerationError    an operator named a generation that is not the current one (`circuit`)
├── CircuitIsolatedError    the circuit is isolated; closing ends an isolation, approving does not
├── MisuseError             a call of the library that cannot work as it is written
├── UnknownCircuitError     no instance has registered a circuit of this name (`known`)
├── StoreUnavailableError   the shared store did not answer, or not in time
│   └── WritesRefusedError  the shared store answers, but takes no writes
├── AlertDeliveryError      an alert could not be published and stays in the outbox
├── CallbackRefusedError    a callback cannot be registered (invalid address, too many callbacks)
└── SettingsError           a setting is unknown, malformed or out of range
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from breaker.configuration.errors import ConfigurationError

if TYPE_CHECKING:
    from breaker.state import Circuit


class BreakerError(Exception):
    """The base class of this package's errors."""


class CircuitOpenError(BreakerError):
    """A refused start: the circuit is open, isolated, out of probe permits, or on hold.

    A caller that starts its work step by step after a closing raises this error, too.

    Attributes:
        circuit: the snapshot that the refusal was based on.
        retry_after: seconds until a retry makes sense; None if only an operator can change the
            state.
    """

    def __init__(self, circuit: Circuit, retry_after: float | None = None) -> None:
        self.circuit = circuit
        self.retry_after = retry_after
        state = str(circuit.state)
        if circuit.admits:
            state = "closed and admits more events step by step"
        elif circuit.holding:
            state = "on hold because its store does not answer"
        detail = f": {circuit.reason}" if circuit.reason else ""
        super().__init__(
            f"circuit {circuit.name!r} is {state} (generation {circuit.generation}){detail}"
        )


class StaleGenerationError(BreakerError):
    """A command for a generation that is not the current one; nothing was changed."""

    def __init__(self, circuit: Circuit, generation: int) -> None:
        self.circuit = circuit
        self.generation = generation
        super().__init__(
            f"generation {generation} of circuit {circuit.name!r} is not the current one; "
            f"the circuit is {circuit.state} in generation {circuit.generation}; "
            "nothing was changed"
        )


class CircuitIsolatedError(BreakerError):
    """An approval of an isolated circuit; only closing by hand ends an isolation."""

    def __init__(self, circuit: Circuit) -> None:
        self.circuit = circuit
        super().__init__(
            f"circuit {circuit.name!r} is isolated (generation {circuit.generation}, "
            f"by {circuit.by or 'unknown'}); approving does not end an isolation, close the "
            "circuit instead"
        )


class MisuseError(BreakerError, TypeError):
    """A program's mistake, such as a blocking call on an event loop; it counts as no failure."""


class UnknownCircuitError(BreakerError):
    """A circuit that no instance has registered, so that a command would have no effect.

    Attributes:
        name: the circuit's name.
        known: the names of the circuits that instances have registered; None if the store did not
            tell them.
    """

    def __init__(self, name: str, known: frozenset[str] | None) -> None:
        self.name = name
        self.known = known
        if known is None:
            names = "the names of others could not be read"
        else:
            # No name is suggested: the nearest one is often the circuit of another pipeline.
            names = f"known circuits: {', '.join(sorted(known)) or 'none'}"
        super().__init__(
            f"no instance has registered a circuit {name!r} in this Redis; {names}. "
            "BREAKER_NAME, or that of the pipeline, and REDIS_URL name the circuit"
        )


class StoreUnavailableError(BreakerError):
    """A store that did not answer; the driver's exception is the `__cause__`."""


class WritesRefusedError(StoreUnavailableError):
    """A store that answers reads and takes no writes; the message says why and what to do."""


class AlertDeliveryError(BreakerError):
    """A failed delivery; the alert and all later alerts stay in the outbox.

    Attributes:
        alert_id: id of the alert that was not accepted.
        delivered: number of alerts that were published before the failure.
    """

    def __init__(self, alert_id: str, delivered: int, cause: BaseException) -> None:
        self.alert_id = alert_id
        self.delivered = delivered
        super().__init__(
            f"alert {alert_id} could not be published ({type(cause).__name__}: {cause}) and "
            f"stays in the outbox; {delivered} alerts were published before the failure"
        )


class CallbackRefusedError(BreakerError, ValueError):
    """A callback that cannot be registered; the message has the reason."""


class SettingsError(BreakerError, ConfigurationError):
    """An invalid setting; the message has its name, its value and the accepted values."""
