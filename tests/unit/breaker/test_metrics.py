"""The OpenTelemetry instruments, read through a meter in memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from opentelemetry.metrics import CallbackOptions

from breaker import (
    AlertDeliveryError,
    BreakerSettings,
    CircuitBreaker,
    CircuitOpenError,
    Key,
    ManualClock,
    MemoryCircuitStore,
    MemoryPublisher,
    Mode,
    Permit,
)
from tests.support.breaker.unreliable_store import UnreliableStore, settle


class MemoryMeter:
    """The part of a meter that the breaker uses."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.gauges: dict[str, Callable[..., Any]] = {}

    def create_counter(self, name: str, description: str) -> Any:
        counts = self.counts

        class MemoryCounter:
            def add(self, amount: int, attributes: dict[str, str]) -> None:
                assert attributes == {"circuit": "c"}
                counts[name] += amount

        return MemoryCounter()

    def create_observable_gauge(
        self, name: str, callbacks: list[Callable[..., Any]], unit: str, description: str
    ) -> None:
        (self.gauges[name],) = callbacks

    def read(self) -> dict[str, float]:
        """Return the values that an exporter would collect now."""
        values = {}
        for name, observe in self.gauges.items():
            for observation in observe(CallbackOptions()):
                values[name.removeprefix("breaker.")] = observation.value
        return values


@pytest.fixture
def meter() -> MemoryMeter:
    return MemoryMeter()


@pytest.fixture
def publisher() -> MemoryPublisher:
    return MemoryPublisher()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def breaker(
    meter: MemoryMeter, publisher: MemoryPublisher, clock: ManualClock
) -> AsyncIterator[CircuitBreaker]:
    made = CircuitBreaker(
        MemoryCircuitStore("c", now_us=clock.now_us),
        BreakerSettings(name="c", failure_threshold=2),
        publisher=publisher,
        clock=clock,
        meter=meter,  # type: ignore[arg-type]
    )
    async with made:
        yield made


async def test_opening_and_refusals_are_measured(
    breaker: CircuitBreaker, meter: MemoryMeter
) -> None:
    """Failures, openings and refusals are counted; gauges show state and failures."""
    assert meter.read() == {
        "state": 0,
        "window.failures": 0,
        "attempts.failed": 0,
        "store.degraded": 0,
    }
    breaker.note_failed_attempt(Key("a"), "down")
    await breaker.refresh()
    assert meter.read()["attempts.failed"] == 1
    permit = await breaker.try_acquire()
    for number in range(3):
        await breaker.record_failure(f"{number}", "boom", permit)
    for _ in range(4):
        with pytest.raises(CircuitOpenError):
            await breaker.try_acquire()
    assert meter.counts == {"breaker.failures": 2, "breaker.openings": 1, "breaker.refusals": 4}
    values = meter.read()
    assert (values["state"], values["window.failures"]) == (2, 2)
    await breaker.approve(1, "ann")
    assert meter.read()["state"] == 1


async def test_opening_at_end_of_outage_is_measured(meter: MemoryMeter, clock: ManualClock) -> None:
    """A retried failure that opens the circuit is counted once as an opening."""
    store = UnreliableStore("c", now_us=clock.now_us)
    settings = BreakerSettings(name="c", failure_threshold=1)
    breaker = CircuitBreaker(
        store,
        settings,
        clock=clock,
        meter=meter,  # type: ignore[arg-type]
    )
    store.away = True
    recording = asyncio.create_task(breaker.record_failure("a", "boom", Permit(0)))
    await settle()
    store.away = False
    clock.advance(settings.poll_seconds)
    assert (await recording).generation == 1
    await breaker.aclose()
    assert meter.counts == {
        "breaker.failures": 1,
        "breaker.openings": 1,
        "breaker.store.outages": 1,
    }


async def test_prevented_opening_is_measured(meter: MemoryMeter, clock: ManualClock) -> None:
    """Mode observe counts an outage once, and no opening."""
    breaker = CircuitBreaker(
        MemoryCircuitStore("c", now_us=clock.now_us),
        BreakerSettings(name="c", failure_threshold=2, mode=Mode.OBSERVE),
        clock=clock,
        meter=meter,  # type: ignore[arg-type]
    )
    for number in range(4):
        await breaker.record_failure(f"f{number}", "boom", Permit(0))
    await breaker.aclose()
    assert meter.counts == {"breaker.failures": 4, "breaker.would_open": 1}


async def test_age_of_undelivered_alert_is_measured(
    breaker: CircuitBreaker, meter: MemoryMeter, publisher: MemoryPublisher, clock: ManualClock
) -> None:
    """The age grows while the topic is down, and is 0 after delivery."""
    publisher.fail_with = OSError("down")
    await breaker.isolate("ann")
    clock.advance(90)
    with pytest.raises(AlertDeliveryError):
        await breaker.deliver_alerts()
    assert meter.read()["alert.age"] == 90
    publisher.fail_with = None
    await breaker.deliver_alerts()
    assert meter.read()["alert.age"] == 0


async def test_closed_breaker_reports_no_gauges(meter: MemoryMeter) -> None:
    """The meter keeps its gauges after the breaker is closed."""
    breaker = CircuitBreaker(MemoryCircuitStore("c"), meter=meter)  # type: ignore[arg-type]
    assert meter.read() != {}
    await breaker.aclose()
    assert meter.read() == {}


async def test_circuits_of_one_meter_share_its_gauges(meter: MemoryMeter) -> None:
    """A meter that gets an instrument's name a second time logs a warning for each circuit."""
    created: list[str] = []
    create = meter.create_observable_gauge

    def counting(name: str, **given: Any) -> None:
        created.append(name)
        create(name, **given)

    meter.create_observable_gauge = counting  # type: ignore[assignment]
    first = CircuitBreaker(MemoryCircuitStore("c"), meter=meter)  # type: ignore[arg-type]
    second = CircuitBreaker(MemoryCircuitStore("c/bank"), BreakerSettings(name="c"), meter=meter)  # type: ignore[arg-type]
    assert len(created) == len(set(created)) == 5
    (observe,) = [meter.gauges["breaker.state"]]
    seen = {each.attributes["circuit"] for each in observe(CallbackOptions())}
    assert seen == {"c", "c/bank"}
    await first.aclose()
    assert [each.attributes for each in observe(CallbackOptions())] == [{"circuit": "c/bank"}]
    await second.aclose()
