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

All instruments have the attribute `circuit`; the name of a dependency's circuit is
`<app>/<dependency>`. Without opentelemetry-api nothing is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from breaker.state import Circuit, CircuitState

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation

STATE_NUMBERS: Mapping[CircuitState, int] = {
    CircuitState.CLOSED: 0,
    CircuitState.HALF_OPEN: 1,
    CircuitState.OPEN: 2,
    CircuitState.ISOLATED: 3,
}


@cache
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
        self._source = source
        self._shared = None if meter is None else _shared_by(meter)
        if self._shared is not None:
            self._shared.sources.add(source)

    def count(self, name: str) -> None:
        """Add one to a counter, e.g. "refusals"."""
        if self._shared is not None:
            self._shared.counters[name].add(1, self._attributes)

    def close(self) -> None:
        """Stop reporting gauges; a meter offers no way to remove them."""
        if self._shared is not None:
            self._shared.sources.discard(self._source)


class _Shared:
    """The instruments of a meter; a meter accepts each name only once.

    Attributes:
        counters: the counters by the end of their names.
        sources: the breakers that the gauges show.
    """

    def __init__(self, meter: Meter) -> None:
        self.counters: dict[str, Any] = {}
        self.sources: WeakSet[Any] = WeakSet()
        for name, description in (
            ("failures", "failures that this instance recorded"),
            ("openings", "openings that this instance made"),
            ("would_open", "openings that mode observe prevented"),
            ("refusals", "starts that this instance refused"),
            ("store.outages", "outages of the store that this instance saw"),
        ):
            self.counters[name] = meter.create_counter(f"breaker.{name}", description=description)
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

    def _observer(
        self, read: Callable[[Any], float | None]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            from opentelemetry.metrics import Observation  # noqa: PLC0415 - optional

            values = [(str(source.name), read(source)) for source in list(self.sources)]
            return [
                Observation(value, {"circuit": name}) for name, value in values if value is not None
            ]

        return observe


_INSTRUMENTS: WeakKeyDictionary[Meter, _Shared] = WeakKeyDictionary()


def _shared_by(meter: Meter) -> _Shared:
    found = _INSTRUMENTS.get(meter)
    if found is None:
        found = _INSTRUMENTS[meter] = _Shared(meter)
    return found


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
