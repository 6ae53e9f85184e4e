"""Redrives that are killed at any step lose no event and keep the order of each key."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from processing.event import Event
from processing.parking.batch import Parking
from processing.redrive.selection import Selection
from tests.support.processing.events import batch, event
from tests.support.processing.parking_rig import Rig, of_key, open_rig
from tests.unit.processing.redrive.lists import Lists


class KilledError(BaseException):
    """The end of the process, after which no cleanup runs."""


class Lifetime:
    """A process's life in steps: each call takes one step before and one step after it."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise KilledError


class KillableProxy:
    """A proxy for an object that the killed process uses."""

    def __init__(self, target: Any, lifetime: Lifetime) -> None:
        self._target = target
        self._life = lifetime

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not callable(found):
            return found

        async def call(*args: Any, **options: Any) -> Any:
            self._life.step()
            answer = await found(*args, **options)
            self._life.step()
            return answer

        return call


def killable(target: Any, lifetime: Lifetime) -> Any:
    """Return a proxy in the place of an object of any type."""
    return KillableProxy(target, lifetime)


EVENTS = [
    event(0, "a", body=bytes(37_000)),
    event(1, "a"),
    event(2, "a", body=bytes(37_000)),
    event(3, "a"),
    event(4, "b"),
    event(5, "b"),
    event(6, "c", body=bytes(37_000)),
]


async def poison_three_keys(rig: Rig) -> None:
    """Poison an event of each of three keys.

    Key a is parked behind its first event, key b has a poison message of its own, and key c has a
    large message that an earlier crash sent twice.
    """
    rig.bad = {0, 4, 6}
    await rig.processor().process(batch(EVENTS[:4]))
    await rig.processor(poison_ordering="skip").process(batch(EVENTS[4:]))
    (large,) = [message for message in rig.poison.messages if message.key == "c"]
    rig.poison.messages.remove(large)
    rig.poison.messages += [await rig.claims.shrink(large) for _ in range(2)]


async def kill_redrive_after(rig: Rig, steps: int) -> bool:
    """Run a redrive for so many steps, and return whether it was killed.

    All leases and holds have expired when the function returns.
    """
    lifetime = Lifetime(steps)
    store, claims = killable(rig.store, lifetime), killable(rig.claims, lifetime)
    redrive = rig.redrive(
        reader=KillableProxy(rig.reader, lifetime),
        poison=KillableProxy(rig.poison, lifetime),
        parking=Parking(store, claims),
        most_keys=1,
    )
    try:
        await redrive.run()
    except BaseExceptionGroup as errors:
        assert errors.subgroup(KilledError)
    except KilledError:
        pass
    rig.store._leases.clear()
    rig.reader.expire_holds()
    return lifetime.left < 0


@pytest.mark.parametrize(
    "still_bad", [{0, 4}, pytest.param({2, 6}, marks=pytest.mark.long)], ids=str
)
async def test_redrive_killed_at_any_step_loses_no_event(still_bad: set[int]) -> None:
    """The next redrive handles the remaining events, each in the order of its key.

    Only the event that was in flight can be handled twice.
    """
    steps, killed = 0, True
    while killed:
        async with open_rig() as rig:
            await poison_three_keys(rig)
            rig.bad = set(still_bad)
            killed = await kill_redrive_after(rig, steps)
            rig.bad.clear()
            await rig.redrive().run()
            await rig.redrive().run()  # removes stale copies
            firsts = list(dict.fromkeys(rig.handled))
            for key in "abc":
                assert of_key(firsts, EVENTS, key) in ([0, 1, 2, 3], [5, 4], [6]), (steps, key)
            assert sorted(firsts) == list(range(7)), steps
            assert len(rig.handled) <= len(firsts) + 1, (steps, rig.handled)
            assert (rig.poison.messages, await rig.store.keys()) == ([], []), steps
            bodies: list[Event] = [rig.events[number] for number in range(7)]
            assert bodies == EVENTS, steps
        steps += 1
    assert steps > 40


@pytest.mark.parametrize("parks", [False, True])
async def test_redrive_of_a_deferred_key_killed_at_any_step_loses_no_event(parks: bool) -> None:
    """An event that was in flight may be handled twice, or have two messages in the queue."""
    steps, killed = 0, True
    while killed:
        site = Lists()
        await site.defer(*(event(number, "a") for number in range(4)))
        site.bad = {1}
        lifetime = Lifetime(steps)
        proxies: dict[str, Any] = {
            "reader": KillableProxy(site.reader, lifetime),
            "poison": KillableProxy(site.queue, lifetime),
            "parking": Parking(killable(site.store, lifetime), killable(site.claims, lifetime)),
        }
        with suppress(KilledError, BaseExceptionGroup):
            await site.redrive(**proxies, parks=parks).run(Selection(key="a"))
        killed = lifetime.left < 0
        site.store._leases.clear()
        site.reader.expire_holds()
        for _ in range(2):
            await site.redrive(parks=parks).run(Selection(key="a"))
        assert 1 not in site.handled, steps
        site.bad.clear()
        await site.redrive(parks=parks).run(Selection(key="a"))
        firsts = list(dict.fromkeys(site.handled))
        assert firsts == ([0, 1, 2, 3] if parks else [0, 2, 3, 1]), steps
        assert len(site.handled) <= 5, (steps, site.handled)
        assert (site.queue.messages, await site.lists()) == ([], {}), steps
        steps += 1
    assert steps > 20
