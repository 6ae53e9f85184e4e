"""OpenTelemetry instruments of the breaker; the host process configures the exporter.

| instrument | kind | meaning |
|---|---|---|
| breaker.state | gauge | 0 closed, 1 half-open, 2 open, 3 isolated |
| breaker.window.failures | gauge | failures inside the window, in the last known state |
| breaker.attempts.failed | gauge | attempts of the fleet that failed since its last success |
| breaker.store.degraded | gauge | 1 while the shared store does not answer |
| breaker.alert.age | gauge, s | age of the oldest undelivered alert at the last delivery |
| breaker.failures | counter | failures that this instance recorded |
| breaker.openings | counter | openings that this instance made; the fleet's sum counts each once |
| breaker.would_open | counter | openings that mode observe prevented, reported by this instance |
| breaker.refusals | counter | starts that this instance refused |
| breaker.store.outages | counter | outages of the store that this instance saw |

All instruments have the attribute `circuit`. Without opentelemetry-api nothing is measured.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from breaker.state import Circuit, CircuitState

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation

STATE_NUMBERS: Mapping[CircuitState, int] = {
    CircuitState.CLOSED: 0,
    CircuitState.HALF_OPEN: 1,
    CircuitState.OPEN: 2,
    CircuitState.ISOLATED: 3,
}


def default_meter() -> Meter | None:
    """Return the process's meter, or None if opentelemetry-api is not installed."""
    try:
        from opentelemetry.metrics import get_meter  # noqa: PLC0415 - optional
    except ImportError:
        return None
    return get_meter("breaker")


class Instruments:
    """The instruments of one breaker.

    Args:
        meter: receiver of the measurements; None measures nothing.
        source: the object whose `circuit` and `alert_age` the gauges show until `close`.
    """

    def __init__(self, meter: Meter | None, source: Any) -> None:
        self._attributes = {"circuit": str(source.name)}
        self._counters: dict[str, Any] = {}
        self._source: Callable[[], Any] = weakref.ref(source)
        if meter is None:
            return
        for name, description in (
            ("failures", "failures that this instance recorded"),
            ("openings", "openings that this instance made"),
            ("would_open", "openings that mode observe prevented"),
            ("refusals", "starts that this instance refused"),
            ("store.outages", "outages of the store that this instance saw"),
        ):
            self._counters[name] = meter.create_counter(f"breaker.{name}", description=description)
        gauges: tuple[tuple[str, str, str, Callable[[Any], float | None]], ...] = (
            ("state", "1", "0 closed, 1 half-open, 2 open, 3 isolated", _state),
            ("window.failures", "1", "failures inside the window", _failures),
            ("attempts.failed", "1", "failed attempts since the last success", _failed_attempts),
            ("store.degraded", "1", "1 while the store does not answer", _degraded),
            ("alert.age", "s", "age of the oldest undelivered alert", _alert_age),
        )
        for name, unit, description, read in gauges:
            meter.create_observable_gauge(
                f"breaker.{name}",
                callbacks=[self._observer(read)],
                unit=unit,
                description=description,
            )

    def count(self, name: str) -> None:
        """Add one to a counter, e.g. "refusals"."""
        if counter := self._counters.get(name):
            counter.add(1, self._attributes)

    def close(self) -> None:
        """Stop reporting gauges; a meter offers no way to remove them."""
        self._source = _nothing

    def _observer(
        self, read: Callable[[Any], float | None]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            from opentelemetry.metrics import Observation  # noqa: PLC0415 - optional

            source = self._source()
            value = None if source is None else read(source)
            return [] if value is None else [Observation(value, self._attributes)]

        return observe


def _nothing() -> None:
    return None


def _circuit(source: Any) -> Circuit:
    circuit: Circuit = source.circuit
    return circuit


def _state(source: Any) -> float:
    return STATE_NUMBERS[_circuit(source).state]


def _failures(source: Any) -> float:
    return _circuit(source).failures


def _failed_attempts(source: Any) -> float:
    return _circuit(source).failed_attempts


def _degraded(source: Any) -> float:
    return int(_circuit(source).degraded)


def _alert_age(source: Any) -> float | None:
    age: float | None = source.alert_age
    return age
