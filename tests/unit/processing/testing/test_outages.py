"""`downstream_down`: the calls of a dependency fail as in an outage."""

from __future__ import annotations

import pytest

from breaker import CircuitState
from processing.dependencies import dependency
from processing.errors import DependencyUnavailableError
from processing.testing.events import event
from processing.testing.outages import downstream_down
from processing.testing.running import TestApp, run
from tests.unit.processing.testing.handlers import charge, charge_in_thread, handle


@pytest.mark.parametrize("handler", [charge, charge_in_thread])
def test_outage_ends_after_a_number_of_calls(handler: object) -> None:
    with downstream_down("Bank", calls=2) as outage:
        outcome = run(handler, [once := event()])
    assert outage.calls == 2
    assert outcome.handled == [once]
    assert [call.error is None for call in outcome.calls] == [False, False, True]


def test_outage_ends_after_a_time_on_the_test_clock() -> None:
    with downstream_down("bank", seconds=7):
        outcome = run(charge, [once := event()])
    assert outcome.handled == [once]
    assert 7 <= outcome.seconds < 20


def test_outage_raises_the_error_that_the_test_chooses() -> None:
    with downstream_down("bank", error=ZeroDivisionError("odd")):
        outcome = run(charge, [once := event()])
    assert outcome.poisoned == [once]
    assert outcome.of(once).why == "builtins.ZeroDivisionError: odd"
    with downstream_down("bank", error=lambda: ConnectionError("gone")):
        outcome = run(charge, [event(key="a")])
    assert "ConnectionError: gone" in str(outcome)


@pytest.mark.parametrize("handler", [charge, charge_in_thread])
def test_outage_counts_for_the_circuit_of_the_dependency(handler: object) -> None:
    settings = {"BREAKER_FAILURE_THRESHOLD": 2, "BREAKER_HALF_OPEN_PERMITS": 1}
    events = [event(key=str(number)) for number in range(4)]
    with TestApp(handler, settings=settings) as app:
        with downstream_down("bank"):
            outcome = app.run(events)
            assert outcome.circuits == {"bank": CircuitState.OPEN}
            assert outcome.circuit is CircuitState.CLOSED
            assert outcome.deferred == events
        later = app.run(seconds=120)
        assert sorted(later.handled, key=events.index) == events
        assert later.circuits == {"bank": CircuitState.CLOSED}


def test_manual_circuit_of_a_dependency_is_approved_by_its_name() -> None:
    settings = {
        "BREAKER_FAILURE_THRESHOLD": 1,
        "BREAKER_HALF_OPEN_PERMITS": 1,
        "DEPENDENCY_BANK_RECOVERY": "manual",
    }
    with TestApp(charge, settings=settings) as app:
        with downstream_down("bank"):
            app.run([once := event(key="a")])
        assert app.run(seconds=300).circuits == {"bank": CircuitState.OPEN}
        with pytest.raises(KeyError, match="used: bank"):
            app.approve("bnak")
        app.approve("bank")
        assert app.run(seconds=300).handled == [once]


def test_outage_without_a_name_fails_each_call_of_the_handler() -> None:
    with downstream_down() as outage:
        outcome = run(handle, [once := event(key="a")])
    assert outcome.deferred == [once]
    assert outage.calls == outcome.of(once).attempts > 0


async def test_block_outside_of_an_event_fails_too() -> None:
    """So a plain unit test of a handler can use the outage."""
    with downstream_down("bank"), pytest.raises(DependencyUnavailableError):
        await charge(event())
    with downstream_down("mail"):
        await charge(event())
    async with dependency("bank"):
        pass


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="takes 1 to 32 letters"), downstream_down("b/nk"):
        pass
    with pytest.raises(ValueError, match="calls is 0"), downstream_down("bank", calls=0):
        pass
    with pytest.raises(ValueError, match="seconds is 0"), downstream_down("bank", seconds=0):
        pass
    with (
        downstream_down("bank"),
        pytest.raises(ValueError, match="declared already"),
        downstream_down("BANK"),
    ):
        pass
