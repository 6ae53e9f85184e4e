"""A store fails at each of its calls in turn, before or after the effect of the call."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from processing.errors import (
    DependencyUnavailableError,
    LeaseLostError,
    OwnershipLostError,
    PoisonEventError,
    StorageUnavailableError,
)
from processing.event import Event
from tests.support.jumping_loop import run_with_all_clocks
from tests.support.processing.events import batch, event
from tests.support.processing.processor_rig import Rig, open_rig

KEYS = ("a", "b", "a", "c", "b", "a", "c", "a", "d", "c")
SETTINGS: dict[str, Any] = {
    "deferred_events_max": 10_000,
    "max_attempts": 2,
    "hold_seconds": 0.0,
    "defer_after_seconds": 1.0,
    "dependency_pause_seconds": 0.5,
}
ROUNDS = 250  # seconds; a lease that nobody releases lasts 210


class Faults:
    """Wraps the calls of a store; some calls in a row fail."""

    def __init__(self, first: int, count: int, fault: Callable[[], None], *, after: bool) -> None:
        self._first, self._count, self._fault, self._after = first, count, fault, after
        self.calls = 0

    def wrap(self, store: Any, *names: str) -> None:
        for name in names:
            setattr(store, name, self._wrapped(getattr(store, name)))

    def stop(self) -> None:
        self._count = 0

    def _wrapped(self, call: Any) -> Any:
        async def wrapped(*args: Any, **values: Any) -> Any:
            number, self.calls = self.calls, self.calls + 1
            fails = self._first <= number < self._first + self._count
            if fails and not self._after:
                self._fault()
            reply = await call(*args, **values)
            if fails and self._after:
                self._fault()
            return reply

        return wrapped


def raising(error: type[Exception]) -> Callable[[], None]:
    def fault() -> None:
        raise error("injected")

    return fault


class World:
    def __init__(self) -> None:
        self.started: dict[str, list[int]] = defaultdict(list)
        self.handled: list[int] = []
        self.running: Counter[str] = Counter()

    async def handle(self, each: Event) -> None:
        key = str(each.key)
        assert self.running[key] == 0, "two calls of one key"
        self.running[key] += 1
        try:
            await asyncio.sleep(0.01)
            if key == "a" and asyncio.get_running_loop().time() < 5:
                raise DependencyUnavailableError("down")
            if each.sequence_number in (3, 15):
                raise PoisonEventError("bad")
        finally:
            self.running[key] -= 1
        self.handled.append(each.sequence_number)


async def scenario(
    first: int, count: int, fault: str, *, after: bool, ordering: str
) -> tuple[World, Rig, Faults]:
    world = World()
    rules = {"standstill_failures": 0, "failure_threshold": 10_000}
    settings = SETTINGS | {"poison_ordering": ordering}
    async with open_rig(world.handle, settings=settings, breaker_settings=rules) as rig:
        now = asyncio.get_running_loop().time
        rig.store._clock = lambda: 1_800_000_000 + now()
        running: asyncio.Task[Any] | None = None

        def cancel() -> None:
            if running is not None:
                running.cancel()

        errors = {
            "storage": StorageUnavailableError,
            "ownership": OwnershipLostError,
            "lease": LeaseLostError,
        }
        faults = Faults(
            first, count, cancel if fault == "cancel" else raising(errors[fault]), after=after
        )
        writes = ("claim", "poison", "announced", "defer", "park", "document")
        replays = ("due", "entries", "lease", "renew", "release", "postpone", "replace", "finish")
        match fault:
            case "ownership":
                faults.wrap(rig.store, "poison", "defer", "park")
            case "lease":
                faults.wrap(rig.store, "postpone", "replace", "finish")
            case _:
                faults.wrap(rig.store, *writes, *replays)
                faults.wrap(rig.progress, "owns", "commit")
                faults.wrap(rig.poison, "put")
        events = [event(n, KEYS[n % len(KEYS)]) for n in range(20)]
        for start in (0, 10):
            for _ in range(ROUNDS):
                running = asyncio.create_task(
                    rig.processor.process(batch(events[start : start + 10]))
                )
                await asyncio.wait({running})
                await rig.processor.replayer.wait_idle()
                if not running.cancelled() and running.exception() is None:
                    break
                await asyncio.sleep(0.1)
            else:
                raise AssertionError("the batch never ends")
        running = None
        for _ in range(ROUNDS):
            await asyncio.sleep(1)
            try:
                await rig.processor.replayer.run_due(4)
            except StorageUnavailableError:
                continue
            if not [each for each in await rig.store.keys() if each.deferral is not None]:
                break
        rig.processor.stop()
        await rig.processor.wait_idle()
        names = [each.get_coro().__qualname__ for each in asyncio.all_tasks()]  # type: ignore[union-attr]
        assert not [name for name in names if "eplay" in name or "renew" in name]
        return world, rig, faults


async def check(first: int, count: int, fault: str, *, after: bool, ordering: str) -> bool:
    """Run the scenario; return whether the fault was reached."""
    world, rig, faults = await scenario(first, count, fault, after=after, ordering=ordering)
    reached = faults.calls > first
    faults.stop()
    left: set[int] = set()
    for key in await rig.store.keys():
        assert key.deferral is None
        entries = await rig.store.entries(key.source, key.key)
        left |= {int(each.position.rpartition(":")[2]) for each in entries}
    assert set(world.handled) | left | set(rig.poisoned) == set(range(20)), "lost"
    by_key = defaultdict(list)
    for number in world.handled:
        by_key[KEYS[number % 10]].append(number)
    for numbers in by_key.values():
        assert numbers == sorted(numbers), f"overtaken: {numbers}"
    doubled = len(world.handled) - len(set(world.handled))
    assert doubled <= (4 if fault == "cancel" else count + 2), world.handled
    return reached


@pytest.mark.parametrize("ordering", ["skip", "park"])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("fault", ["storage", "ownership", "lease", "cancel"])
def test_nothing_is_lost_or_overtaken_when_a_call_fails(
    ordering: str, after: bool, fault: str
) -> None:
    first, count = 0, 2
    while True:
        try:
            reached = run_with_all_clocks(
                check(first, count, fault, after=after, ordering=ordering)
            )
        except BaseException as error:
            error.add_note(f"first failing call: {first}")
            raise
        if not reached:
            break
        first += 4
    assert first > 1
