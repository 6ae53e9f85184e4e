"""A key that an open circuit refuses is deferred after the waking that it should wait for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from breaker import Circuit, CircuitState
from processing.parking.store import DeferReply
from processing.parking.waking import WOKEN_SECONDS, Seen, Waking, seen_of
from tests.support.processing.dependency_parts import open_parts, simulated
from tests.support.processing.dependency_rig import trip
from tests.support.processing.events import SOURCE, batch
from tests.support.processing.parking_stores import pause_of
from tests.support.processing.processor_rig import keyed

CIRCUIT = Circuit("app/bank", CircuitState.OPEN, generation=3)


@pytest.mark.parametrize("view_is_late", [True, False])
def test_key_is_replayed_soon_if_another_instance_has_woken_the_keys(view_is_late: bool) -> None:
    """This instance may know of the closing by then, or not."""

    async def test() -> None:
        async with open_parts(of_bank={"break_seconds": 300.0}) as parts:
            circuit, store = await trip(parts.circuits), parts.rig.store
            defer, generation = store.defer, circuit.circuit.generation

            async def after_the_closing(*args: Any, **more: Any) -> DeferReply:
                if not view_is_late:
                    await circuit.close_circuit(generation, "test")
                await store.wake(SOURCE, Waking("bank", generation, closed=True, most=2))
                return await defer(*args, **more)

            store.defer = after_the_closing  # type: ignore[method-assign]
            await parts.rig.processor.process(batch(keyed("bank", "none")))
            assert await pause_of(store, "bank") == pytest.approx(WOKEN_SECONDS)

    simulated(test)


@pytest.mark.parametrize(
    ("state", "rank"),
    [
        (CircuitState.OPEN, 0),
        (CircuitState.ISOLATED, 0),
        (CircuitState.HALF_OPEN, 1),
        (CircuitState.CLOSED, 1),  # its waking may be over
    ],
)
def test_writer_knows_the_circuit_as_it_refused(state: CircuitState, rank: int) -> None:
    assert seen_of("bank", replace(CIRCUIT, state=state)) == Seen("bank", (3, rank))


@pytest.mark.parametrize("change", [{"holding": True}, {"generation": 0}])
def test_no_waking_follows_a_circuit_that_held_without_its_store(change: dict[str, Any]) -> None:
    """A circuit of generation 0 refuses nothing else; its state does not change afterwards."""
    assert seen_of("bank", replace(CIRCUIT, **change)) is None
