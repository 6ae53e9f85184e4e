"""A redrive that is killed at any of its steps loses nothing and turns no key around."""

from __future__ import annotations

from typing import Any

import pytest

from processing.event import Event
from processing.parking.batch import Parking
from tests.support.processing.events import batch, event
from tests.support.processing.parking_rig import Rig, of_key, rig


class KilledError(BaseException):
    """The process is gone: nothing is cleaned up."""


class Life:
    """Ends after so many steps; each call is two: one before it is carried out and one after."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise KilledError


class Mortal:
    """Something that a process uses for as long as it lives."""

    def __init__(self, target: Any, life: Life) -> None:
        self._target = target
        self._life = life

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not callable(found):
            return found

        async def call(*args: Any) -> Any:
            self._life.step()
            answer = await found(*args)
            self._life.step()
            return answer

        return call


EVENTS = [
    event(0, "a", body=bytes(37_000)),
    event(1, "a"),
    event(2, "a", body=bytes(37_000)),
    event(3, "a"),
    event(4, "b"),
    event(5, "b"),
    event(6, "c", body=bytes(37_000)),
]


async def poisoned(made: Rig) -> None:
    """Key a is parked behind its first event; b has a poison message of its own, and c a large
    one that an earlier crash has sent twice.
    """
    made.bad = {0, 4, 6}
    await made.processor().process(batch(EVENTS[:4]))
    await made.processor(poison_ordering="skip").process(batch(EVENTS[4:]))
    (large,) = [message for message in made.poison.messages if message.key == "c"]
    made.poison.messages.remove(large)
    made.poison.messages += [await made.claims.shrink(large) for _ in range(2)]


async def killed_after(made: Rig, steps: int) -> bool:
    """Redrive for so many steps; whether it was killed. Then its leases and holds run out."""
    life = Life(steps)
    store, claims = Mortal(made.store, life), Mortal(made.claims, life)
    redrive = made.redrive(
        reader=Mortal(made.reader, life),
        poison=Mortal(made.poison, life),
        parking=Parking(store, claims),
        most_keys=1,
    )
    try:
        await redrive.run()
    except BaseExceptionGroup as errors:
        assert errors.subgroup(KilledError)
    except KilledError:
        pass
    made.store._leases.clear()
    made.reader.let_go()
    return life.left < 0


@pytest.mark.parametrize("still_bad", [{0, 4}, {2, 6}])
async def test_killed_at_each_step(still_bad: set[int]) -> None:
    """The next redrive does the rest: each event is handled, in the order of its key, and only
    the one that was in flight can be handled twice.
    """
    steps, killed = 0, True
    while killed:
        async with rig() as made:
            await poisoned(made)
            made.bad = set(still_bad)
            killed = await killed_after(made, steps)
            made.bad.clear()
            await made.redrive().run()
            await made.redrive().run()  # stale copies
            firsts = list(dict.fromkeys(made.handled))
            for key in "abc":
                assert of_key(firsts, EVENTS, key) in ([0, 1, 2, 3], [5, 4], [6]), (steps, key)
            assert sorted(firsts) == list(range(7)), steps
            assert len(made.handled) <= len(firsts) + 1, (steps, made.handled)
            assert (made.poison.messages, await made.store.keys()) == ([], []), steps
            bodies: list[Event] = [made.events[number] for number in range(7)]
            assert bodies == EVENTS, steps
        steps += 1
    assert steps > 40
