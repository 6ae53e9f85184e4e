"""Alert delivery: in order, once, with the same id, by any instance."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from breaker import (
    Alert,
    AlertDeliveryError,
    BreakerSettings,
    CircuitBreaker,
    CircuitEvent,
    ManualClock,
    MemoryCircuitStore,
    MemoryPublisher,
    Permit,
    SettingsError,
)
from breaker.alerts.base import AlertBatch
from breaker.alerts.event_grid import EventGridPublisher, cloud_event
from breaker.state import Rules

SETTINGS = BreakerSettings(name="c", failure_threshold=1, alert_lease_seconds=30)
RULES = SETTINGS.rules("elsewhere:1")


class StuckPublisher(MemoryPublisher):
    """A publisher that waits until `go_on` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()

    async def publish(self, alert: Alert) -> None:
        self.asked.set()
        await self.go_on.wait()
        await super().publish(alert)


class UnreadableStore(MemoryCircuitStore):
    """A store whose outbox has an event of a newer version until `readable` is set."""

    readable = False

    async def claim_alerts(
        self, rules: Rules, token: str, lease_seconds: float, limit: int
    ) -> AlertBatch:
        if not self.readable:
            CircuitEvent("unheard of")
        return await super().claim_alerts(rules, token, lease_seconds, limit)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> MemoryCircuitStore:
    return MemoryCircuitStore("c", now_us=clock.now_us)


def ids(publisher: MemoryPublisher) -> list[str]:
    return [alert.id for alert in publisher.published]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def test_alert_of_crashed_instance_is_delivered(
    store: MemoryCircuitStore, clock: ManualClock
) -> None:
    """Another instance delivers the alert, once."""
    await store.record_failure(RULES, "a", "boom", Permit(0))
    publisher = MemoryPublisher()
    breaker = CircuitBreaker(store, SETTINGS, publisher=publisher, clock=clock)
    assert await breaker.deliver_alerts() == 1
    assert await breaker.deliver_alerts() == 0
    assert ids(publisher) == ["c:1:opened"]
    await breaker.aclose()


async def test_unexpected_error_does_not_end_background_delivery(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The error is logged with its traceback, and delivery is retried."""
    store = UnreadableStore("c", now_us=clock.now_us)
    publisher = MemoryPublisher()
    breaker = CircuitBreaker(store, SETTINGS, publisher=publisher, clock=clock)
    await breaker.record_failure("a", "boom", Permit(0))
    await until(lambda: clock.sleeping == 1)
    assert "'unheard of' is not a valid CircuitEvent" in caplog.text
    store.readable = True
    clock.advance(1)
    await until(lambda: ids(publisher) == ["c:1:opened"])
    await breaker.aclose()


async def test_breaker_without_publisher_keeps_the_outbox(
    store: MemoryCircuitStore, clock: ManualClock
) -> None:
    """An instance without a publisher claims no alert."""
    async with CircuitBreaker(store, SETTINGS, clock=clock) as breaker:
        await breaker.record_failure("a", "boom", await breaker.try_acquire())
        assert await breaker.deliver_alerts() == 0
    assert (await store.outbox(RULES)).pending == 1


async def test_topic_outage_loses_no_alert_and_keeps_order(
    store: MemoryCircuitStore, clock: ManualClock
) -> None:
    """A refused alert stays first; all alerts are published after the outage."""
    publisher = MemoryPublisher()
    publisher.fail_with = OSError("topic down")
    async with CircuitBreaker(store, SETTINGS, publisher=publisher, clock=clock) as breaker:
        await breaker.record_failure("a", "boom", await breaker.try_acquire())
        await breaker.close_circuit(1, "ann")
        with pytest.raises(AlertDeliveryError) as failed:
            await breaker.deliver_alerts()
        assert (failed.value.alert_id, failed.value.delivered) == ("c:1:opened", 0)
        assert "topic down" in str(failed.value)
        publisher.fail_with = None
        for _ in range(40):
            clock.advance(1)
            await asyncio.sleep(0)
        await until(lambda: len(publisher.published) == 2)
    assert ids(publisher) == ["c:1:opened", "c:1:closed"]


async def test_concurrent_deliveries_publish_each_alert_once(
    store: MemoryCircuitStore, clock: ManualClock
) -> None:
    """The second deliverer finds the lease held and publishes nothing."""
    await store.record_failure(RULES, "a", "boom", Permit(0))
    slow, quick = StuckPublisher(), MemoryPublisher()
    first = CircuitBreaker(store, SETTINGS, publisher=slow, clock=clock)
    second = CircuitBreaker(store, SETTINGS, publisher=quick, clock=clock)
    delivering = asyncio.create_task(first.deliver_alerts())
    await slow.asked.wait()
    assert await second.deliver_alerts() == 0
    slow.go_on.set()
    assert await delivering == 1
    assert (ids(slow), ids(quick)) == (["c:1:opened"], [])
    await first.aclose()
    await second.aclose()


async def test_expired_lease_of_crashed_deliverer_is_taken_over(
    store: MemoryCircuitStore, clock: ManualClock
) -> None:
    """Another instance delivers after the lease expires, not before."""
    await store.record_failure(RULES, "a", "boom", Permit(0))
    await store.claim_alerts(RULES, "died", 30, 10)
    publisher = MemoryPublisher()
    breaker = CircuitBreaker(store, SETTINGS, publisher=publisher, clock=clock)
    assert await breaker.deliver_alerts() == 0
    clock.advance(30)
    assert await breaker.deliver_alerts() == 1
    await breaker.aclose()


async def test_delivery_retries_while_another_instance_holds_the_lease(
    store: MemoryCircuitStore, clock: ManualClock
) -> None:
    """The background delivery succeeds once the crashed deliverer's lease expires."""
    await store.isolate(RULES, "ann", "left by a crashed deliverer")
    await store.claim_alerts(RULES, "died", 30, 10)
    publisher = MemoryPublisher()
    async with CircuitBreaker(store, SETTINGS, publisher=publisher, clock=clock) as breaker:
        await breaker.close_circuit(1, "ann")
        for _ in range(70):
            clock.advance(1)
            for _ in range(5):
                await asyncio.sleep(0)
        assert ids(publisher) == ["c:1:isolated", "c:1:closed"]


async def test_closing_waits_for_current_publish(
    store: MemoryCircuitStore, clock: ManualClock
) -> None:
    """Closing a breaker awaits the alert that is being published."""
    publisher = StuckPublisher()
    breaker = CircuitBreaker(store, SETTINGS, publisher=publisher, clock=clock)
    await breaker.record_failure("a", "boom", await breaker.try_acquire())
    closing = asyncio.create_task(breaker.aclose())
    await publisher.asked.wait()
    assert not closing.done()
    publisher.go_on.set()
    await closing
    assert ids(publisher) == ["c:1:opened"]


async def test_closing_the_breaker_does_not_wait_while_the_topic_is_down(
    store: MemoryCircuitStore, clock: ManualClock
) -> None:
    """The alert stays in the outbox for other instances."""
    publisher = MemoryPublisher()
    publisher.fail_with = OSError("topic down")
    breaker = CircuitBreaker(store, SETTINGS, publisher=publisher, clock=clock)
    await breaker.record_failure("a", "boom", await breaker.try_acquire())
    await until(lambda: clock.sleeping == 1)
    await asyncio.wait_for(breaker.aclose(), 5)
    assert (await store.outbox(RULES)).pending == 1


async def test_cloud_event_has_id_and_time_of_alert(
    store: MemoryCircuitStore,
) -> None:
    """A repeated alert gives an equal CloudEvent 1.0."""
    change = await store.record_failure(RULES, "a", "boom", Permit(0))
    (alert,) = (await store.claim_alerts(RULES, "t", 30, 10)).alerts
    event = cloud_event(alert)
    assert (event.specversion, event.id, event.type) == (
        "1.0",
        "c:1:opened",
        "breakwater.circuit.opened",
    )
    assert (event.source, event.subject) == ("/breakwater/circuits/c", "c/1")
    assert change.circuit.opened_at is not None
    assert event.time == datetime.fromtimestamp(change.circuit.opened_at, UTC)
    assert event.data is not None
    assert (event.data["name"], event.data["generation"], event.data["errors"]) == (
        "c",
        1,
        ["boom"],
    )


@pytest.mark.parametrize(
    ("endpoint", "key", "says"),
    [
        ("topic.example.com", "k", "it takes an http"),
        ("ftp://topic.example.com", "k", "it takes an http"),
        ("http://127.0.0.1:1/topic", None, "EVENT_GRID_TOPIC_KEY must be set"),
    ],
)
def test_invalid_topic_is_refused(endpoint: str, key: str | None, says: str) -> None:
    """The address must be http(s), and plain http needs a key."""
    with pytest.raises(SettingsError, match=says):
        EventGridPublisher(endpoint, key=key)


@pytest.mark.parametrize(
    ("console_url", "link"),
    [
        ("", ""),
        ("https://console.example.com", "https://console.example.com/?circuit=c&generation=1"),
        ("http://127.0.0.1:7090/ops/", "http://127.0.0.1:7090/ops/?circuit=c&generation=1"),
    ],
)
async def test_alert_links_to_its_circuit_and_generation(
    store: MemoryCircuitStore, clock: ManualClock, console_url: str, link: str
) -> None:
    """An operator reaches the page about this opening from the alert."""
    settings = BreakerSettings(name="c", failure_threshold=1, console_url=console_url)
    publisher = MemoryPublisher()
    breaker = CircuitBreaker(store, settings, publisher=publisher, clock=clock)
    await breaker.record_failure("a", "boom", Permit(0))
    await breaker.deliver_alerts()
    await breaker.aclose()
    (alert,) = publisher.published
    assert alert.data["link"] == link
    assert alert.data["reason"], "the other data stay"
