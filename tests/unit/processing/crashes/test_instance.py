"""The objects that all pipelines of one process share."""

from __future__ import annotations

import asyncio

import pytest

from processing.crashes.instance import Instance
from processing.event import Event
from processing.handlers.loaded import LoadedHandler
from processing.identity import Identity, Source
from processing.watchdog.loop_watch import Block, LoopWatch
from scripts.load_app import SETTINGS
from tests.support.processing.events import event


@pytest.fixture
def settings() -> list[dict[str, str]]:
    return [SETTINGS | {"EVENT_HUB_NAME": name} for name in ("orders", "audit")]


async def test_turn_of_careful_mode_waits_for_the_calls_of_all_pipelines(
    settings: list[dict[str, str]],
) -> None:
    """An event is alone in the process only if no handler of any pipeline runs."""
    release = asyncio.Event()

    async def waits(_event: Event) -> None:
        await release.wait()

    instance = Instance(settings)
    orders, audit = (LoadedHandler(name, waits, timeout_seconds=60) for name in ("o", "a"))
    try:
        instance.add(orders)
        instance.add(audit)
        call = asyncio.ensure_future(orders.handle(event(1)))
        await asyncio.sleep(0)
        instance.careful.begin("audit", "a reason.")
        assert not await instance.careful.take_turn(0.01)
        release.set()
        await call
        assert await instance.careful.take_turn(60)
    finally:
        await instance.aclose()


async def test_watchdog_finds_the_event_of_each_pipeline(settings: list[dict[str, str]]) -> None:
    """Also after the handler of the other pipeline was closed."""
    found: list[Event | None] = []

    async def looks(_event: Event) -> None:
        task = asyncio.current_task()
        assert task is not None
        found.append(instance._event_of(task))

    instance = Instance(settings)
    orders, audit = (LoadedHandler(name, looks, timeout_seconds=60) for name in ("o", "a"))
    try:
        for handler in (orders, audit):
            instance.add(handler)
            assert handler.recorder is instance.watchdog.recorder
        await orders.handle(event(1))
        await audit.handle(event(2))
        instance.remove(orders)
        await audit.handle(event(3))
        await orders.handle(event(4))
    finally:
        await instance.aclose()
    assert found == [event(1), event(2), event(3), None]


async def test_standstill_names_the_pipeline() -> None:
    """Two pipelines may read one hub, so the event's id does not tell them apart."""
    watch = LoopWatch("o, a", lambda _task: None)
    source = Source(Identity("ns.example.net", "events", "audit", "audit"), "0")
    text = watch._text(
        Block(0, event(1, source=source), "app.py, line 3, in handle"), "stood still"
    )
    assert f"event {event(1, source=source).id} of pipeline audit, at app.py" in text
    assert "of pipeline" not in watch._text(Block(0, event(1), "app.py"), "stood still")
