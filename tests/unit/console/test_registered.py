"""The page shows the rules that the app's instances have registered."""

from __future__ import annotations

import pytest

from breaker import BreakerSettings, CircuitBreaker, ManualClock, MemoryCircuitStore, Mode
from breaker.errors import StoreUnavailableError
from console.live.circuit_feed import Reading
from tests.support.breaker.unreliable_store import UnreliableStore

CONSOLE = BreakerSettings(name="c", failure_threshold=100)


def console_on(store: MemoryCircuitStore, settings: BreakerSettings = CONSOLE) -> Reading:
    return Reading(CircuitBreaker(store, settings, registers=False))


async def poll(store: MemoryCircuitStore, instance: str, settings: BreakerSettings) -> None:
    await CircuitBreaker(store, settings, instance=instance).refresh()


async def test_page_shows_the_rules_of_the_app_and_says_that_the_console_differs() -> None:
    store = MemoryCircuitStore("c")
    await poll(store, "one", BreakerSettings(name="c", failure_threshold=7, mode=Mode.OBSERVE))
    reading = console_on(store)
    assert await reading.read(pages=True)
    assert (reading.document["failure_threshold"], reading.document["mode"]) == (7, Mode.OBSERVE)
    assert "other settings than the app (mode, failure_threshold)" in reading.document["note"]


async def test_page_says_that_nobody_has_registered_the_circuit() -> None:
    reading = console_on(MemoryCircuitStore("c"))
    await reading.read(pages=True)
    assert reading.document["note"].startswith("No instance has registered this circuit")
    assert reading.document["failure_threshold"] == 100


async def test_page_names_the_instances_that_differ() -> None:
    store = MemoryCircuitStore("c")
    for name in ("a", "b", "c", "d"):
        await poll(store, name, CONSOLE)
    await poll(store, "e", BreakerSettings(name="c", failure_threshold=7))
    reading = console_on(store)
    await reading.read(pages=True)
    note = reading.document["note"]
    assert note.startswith("The instances differ in failure_threshold (")
    assert "7 on e" in note
    assert "and 1 more" in note


async def test_settings_of_the_connection_may_differ() -> None:
    store = MemoryCircuitStore("c")
    await poll(store, "one", BreakerSettings(name="c", poll_seconds=3, store_timeout_seconds=9))
    reading = console_on(store)
    await reading.read(pages=True)
    assert reading.document["note"] == ""


async def test_store_that_does_not_answer_leaves_the_page_with_the_known_rules() -> None:
    store = UnreliableStore("c", now_us=ManualClock().now_us)
    store.away = True
    with pytest.raises(StoreUnavailableError):
        await store.registered(CONSOLE.rules(""))
    reading = console_on(store)
    await reading.read(pages=True)
    assert (reading.document["failure_threshold"], reading.document["note"]) == (100, "")
