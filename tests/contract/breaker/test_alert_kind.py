"""The kind of an alert: that of the instance that opened the circuit, in both stores."""

from __future__ import annotations

from dataclasses import replace

import pytest

from breaker import (
    BreakerSettings,
    Circuit,
    CircuitEvent,
    CircuitState,
    CircuitStore,
    ManualClock,
    Permit,
)
from breaker.state import Rules

HOLDS = BreakerSettings(name="c", failure_threshold=1, stops_app=False).rules("opener:1")
STOPS = BreakerSettings(name="c", failure_threshold=1).rules("console:1")
"""The rules of another caller, which may have other settings than the opener."""


def kind(store: CircuitStore) -> str:
    """Return the kind of an opening that does not stop the app."""
    return "pipeline" if store.name == "c" else "dependency"


async def alert_kinds(store: CircuitStore, rules: Rules = STOPS) -> list[tuple[str, str]]:
    batch = await store.claim_alerts(rules, "t", 30, 20)
    return [(alert.data["state"], alert.data["kind"]) for alert in batch.alerts]


async def history_kinds(store: CircuitStore) -> list[tuple[str, str]]:
    return [(entry.event, entry.kind) for entry in reversed(await store.history(20))]


async def open_it(store: CircuitStore, rules: Rules = HOLDS, generation: int = 0) -> Circuit:
    change = await store.record_failure(rules, f"f{generation}", "boom", Permit(generation))
    return change.circuit


async def test_successor_delivers_the_kind_of_a_crashed_opener(store: CircuitStore) -> None:
    """The outbox has the kind, so the deliverer's own settings do not count."""
    circuit = await open_it(store)
    assert (circuit.state, circuit.kind) == (CircuitState.OPEN, kind(store))
    assert await alert_kinds(store) == [("open", kind(store))]
    assert (await store.snapshot(STOPS)).circuit.kind == kind(store)


async def test_approval_and_closing_by_a_tool_keep_the_kind(store: CircuitStore) -> None:
    """The alerts and the history of one generation have one kind."""
    await open_it(store)
    await store.approve(STOPS, 1, "ann")
    await store.close(STOPS, 1, "ann", "fine")
    states = ["open", "half_open", "closed"]
    assert await alert_kinds(store) == [(state, kind(store)) for state in states]
    events = ["opened", "approved", "half_opened", "closed"]
    assert await history_kinds(store) == [(event, kind(store)) for event in events]


async def test_repeated_alert_of_the_console_has_the_kind(
    store: CircuitStore, clock: ManualClock
) -> None:
    """The console adds the alert again with its own rules."""
    await open_it(store)
    batch = await store.claim_alerts(STOPS, "t", 30, 1)
    await store.settle_alert(STOPS, "t", batch.alerts[0].entry, 30)
    clock.advance(120)
    assert await store.repeat_opened(STOPS, 120, 3_600)
    assert await alert_kinds(store) == [("open", kind(store))]
    assert (await history_kinds(store))[-1] == ("alert_repeated", kind(store))


async def test_opening_after_an_isolation_has_the_kind(
    store: CircuitStore, clock: ManualClock
) -> None:
    """The first caller after the isolation's end makes the transition; that may be any tool."""
    await open_it(store)
    await store.isolate(HOLDS, "ann", "release", 60)
    clock.advance(60)
    assert (await store.snapshot(STOPS)).circuit.state is CircuitState.OPEN
    kinds = await alert_kinds(store)
    assert kinds == [(state, kind(store)) for state in ("open", "isolated", "open")]


async def test_restored_opening_has_the_kind(store: CircuitStore) -> None:
    """After a data loss of the store, the restored alert must not stop the app."""
    known = Circuit(store.name, CircuitState.OPEN, 4, opened_at=900.0, stops_app=False)
    await store.restore(STOPS, known)
    assert await alert_kinds(store) == [("open", kind(store))]
    assert (await store.snapshot(STOPS)).circuit.stops_app is False


async def test_opening_that_mode_observe_does_not_make_has_the_kind(store: CircuitStore) -> None:
    """The history says what the opening would have stopped."""
    await open_it(store, replace(HOLDS, observe=True))
    assert await history_kinds(store) == [("would_open", kind(store))]


@pytest.mark.parametrize(("first", "second"), [(HOLDS, STOPS), (STOPS, HOLDS)])
async def test_each_generation_has_the_kind_of_its_own_opener(
    store: CircuitStore, first: Rules, second: Rules
) -> None:
    """After a change of the settings, the next opening has the new kind."""
    await open_it(store, first)
    await store.close(first, 1, "ann", "fine")
    await open_it(store, second, 1)
    kinds = [each for _, each in await alert_kinds(store)]
    own = {HOLDS: kind(store), STOPS: "app" if store.name == "c" else "dependency"}
    assert kinds == [own[first], own[first], own[second]]


async def test_alert_of_each_event_has_a_kind(store: CircuitStore) -> None:
    """The workflow reads the kind of an opening, and the subscriber's mail that of the others."""
    await open_it(store, STOPS)
    await store.isolate(STOPS, "ann", "release")
    batch = await store.claim_alerts(STOPS, "t", 30, 20)
    own = "app" if store.name == "c" else "dependency"
    assert [alert.data["kind"] for alert in batch.alerts] == [own, own]
    assert [alert.type.rpartition(".")[2] for alert in batch.alerts] == [
        CircuitEvent.OPENED,
        CircuitEvent.ISOLATED,
    ]
