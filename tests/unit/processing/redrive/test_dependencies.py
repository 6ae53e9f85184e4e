"""Redrives and dependencies: an open circuit ends the keys that need it, and no other."""

from __future__ import annotations

import asyncio

from breaker import CircuitState
from processing.dependencies import dependency
from processing.event import Event
from processing.redrive.selection import Selection
from tests.support.processing.dependency_rig import (
    free_permits,
    half_open,
    open_dependencies,
    trip,
)
from tests.support.processing.events import event
from tests.unit.processing.redrive.lists import Lists


async def pay(each: Event) -> None:
    """Handle an event as a handler in which some keys need the bank."""
    if each.key is not None and each.key.startswith("bank"):
        async with dependency("bank"):
            await asyncio.sleep(0)


async def test_open_dependency_ends_its_keys_only() -> None:
    """The messages stay, the other key is replayed, and the redrive does not stop."""
    site = Lists()
    site.before = pay
    await site.poison(event(0, "bank:a"))
    await site.poison(event(1, "mail"))
    async with open_dependencies() as dependencies:
        circuit = await trip(dependencies)
        before = (await circuit.refresh()).failures
        summary = await site.redrive(dependencies=dependencies, most_keys=1).run()
        assert (await circuit.refresh()).failures == before
    assert (site.handled, site.queued) == ([1], [0])
    assert (summary.replayed, summary.left, summary.stopped) == (1, 0, "")
    assert [each.type for each in summary.failed] == ["DependencyRefusedError"]
    assert not summary.complete


async def test_named_deferred_key_stays_while_its_dependency_is_open() -> None:
    site = Lists()
    site.before = pay
    await site.defer(event(0, "bank:a"), event(1, "bank:a"))
    async with open_dependencies() as dependencies:
        await trip(dependencies)
        summary = await site.redrive(dependencies=dependencies).run(Selection(key="bank:a"))
    assert site.handled == []
    assert [each.type for each in summary.still_deferred] == ["DependencyRefusedError"]
    assert await site.lists() == {"bank:a": ("deferred", 2)}


async def test_redrive_takes_no_permit_and_reports_nothing() -> None:
    site = Lists()
    site.before = pay
    await site.poison(event(0, "bank:a"))
    async with open_dependencies() as dependencies:
        circuit = await half_open(dependencies)
        await site.redrive(dependencies=dependencies).run()
        assert circuit.circuit.state is CircuitState.HALF_OPEN
        assert await free_permits(circuit) == 2
        await circuit.close_circuit(circuit.circuit.generation, "test")
        await site.redrive(dependencies=dependencies).run()
        assert circuit._notes.take() is None
    assert site.handled == [0]
