"""Poison of a replay under the order `park`: the poison queue gets its message in the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from processing.errors import PoisonEventError, StorageUnavailableError
from processing.parking.store import EntryKind, WritingAs
from tests.support.processing.events import SOURCE, event
from tests.support.processing.replay_rig import Rig, open_rig, simulated

P, U, E = EntryKind.POISON, EntryKind.UNANNOUNCED, EntryKind.EVENT


@asynccontextmanager
async def open_park(**settings: Any) -> AsyncIterator[Rig]:
    """Open a rig with the order `park`, and defer a poisoned event and one behind it."""
    async with open_rig(poison_ordering="park", hold_seconds=5, **settings) as rig:
        rig.errors[1] = PoisonEventError("bad")
        await rig.defer(1, 2, attempts=4, tries=9, bodies={1: b"x" * 100_000})
        yield rig


class Outage:
    """An outage of one method: its calls fail from now on, before or after they take effect."""

    def __init__(self, owner: Any, name: str, *, after: bool = False) -> None:
        self._parts = (owner, name, getattr(owner, name))
        self.calls = 0

        async def away(*args: Any, **values: Any) -> Any:
            self.calls += 1
            if after:
                await self._parts[2](*args, **values)
            raise StorageUnavailableError("away")

        setattr(owner, name, away)

    def end(self) -> None:
        """End the outage."""
        owner, name, original = self._parts
        setattr(owner, name, original)


async def run_timer(rig: Rig, times: int) -> None:
    """Run the timer every 10 seconds."""
    for _ in range(times):
        await rig.replayer.run_due(4)
        await rig.replayer.wait_idle()
        await asyncio.sleep(10)


async def check_announced(rig: Rig) -> None:
    """Check that the message is in the queue, and that the key waits for an operator."""
    assert rig.poisoned == [1]
    (message,) = rig.poison.messages
    assert (message.parked, message.attempts) == (True, 5)
    assert await rig.waiting() == [(P, 1), (E, 2)]
    found = await rig.key()
    assert found is not None
    assert found.deferral is None
    assert "k" not in await rig.store.due(SOURCE, most=10)
    assert rig.started == [1]
    # The blob of the message, and not that of the parked event.
    assert message.claim_check is not None
    assert list(rig.claims.blobs) == [message.claim_check.blob]


@simulated
async def test_message_reaches_the_queue_after_the_queues_outage() -> None:
    """The handler is not called again."""
    async with open_park() as rig:
        outage = Outage(rig.poison, "put")
        await rig.replay()
        assert await rig.waiting() == [(U, 1), (E, 2)]
        await run_timer(rig, 3)
        outage.end()
        await run_timer(rig, 3)
        await check_announced(rig)


@simulated
async def test_message_of_a_replay_that_died_reaches_the_queue() -> None:
    """Another instance announces the event."""
    async with open_park() as rig:
        put: Any = rig.poison.put

        async def never(_message: object) -> None:
            await asyncio.Event().wait()

        rig.poison.put = never  # type: ignore[method-assign, assignment]
        with rig.replayer.invocation():
            rig.replayer.start(SOURCE, ["k"])
            await asyncio.sleep(1)
            for task in rig.replayer._tasks.values():
                task.cancel()
            await rig.replayer.wait_idle()
        assert await rig.waiting() == [(U, 1), (E, 2)]
        rig.poison.put = put  # type: ignore[method-assign]
        await asyncio.sleep(200)  # the lease expires
        await run_timer(rig, 1)
        await check_announced(rig)


@pytest.mark.parametrize("method", ["replace", "announced"])
@simulated
async def test_unconfirmed_write_is_repeated(method: str) -> None:
    """Redis has written, but its replicas did not confirm in time; the message may come twice."""
    async with open_park() as rig:
        outage = Outage(rig.store, method, after=True)
        await rig.replay()
        assert outage.calls > 1
        if method == "replace":
            assert rig.poisoned == []
            blob = [name for name in rig.claims.blobs if name.startswith("parked/")]
            assert len(blob) == 1  # the event's body, should the write be lost
            rig.claims.blobs.pop(blob[0])
        outage.end()
        await run_timer(rig, 2)
        await check_announced(rig)


@simulated
async def test_pauses_between_announcements_grow_from_two_seconds() -> None:
    """A replay announces once, so that the replays of other keys are not delayed."""
    async with open_park() as rig:
        outage = Outage(rig.poison, "put")
        await rig.replay()
        pauses = []
        for _ in range(4):
            pauses.append(await rig.pause())
            await asyncio.sleep(pauses[-1])
            await rig.replay()
        assert pauses == pytest.approx([2, 4, 8, 16], abs=0.1)
        assert outage.calls == 5
        assert "away" in (await rig.deferral()).error


@simulated
async def test_events_that_a_rewind_brings_back_are_replayed_first() -> None:
    """They are before the poisoned event."""
    async with open_park() as rig:
        outage = Outage(rig.poison, "put")
        await rig.replay()
        outage.end()
        await rig.defer(0, key="other")
        claim = await rig.store.claim(SOURCE)
        (entry,) = await rig.store.entries(SOURCE, "other")
        await rig.store.park(
            WritingAs(claim.owner, ""), SOURCE, "k", [(entry.position, entry.document)]
        )
        await asyncio.sleep(10)
        await rig.replay()
        assert rig.handled == [0]
        rig.started.remove(0)
        await check_announced(rig)


@simulated
async def test_unreadable_message_waits_on_record(caplog: pytest.LogCaptureFixture) -> None:
    """The key stays deferred, so it is reported."""
    async with open_park() as rig:
        outage = Outage(rig.poison, "put")
        await rig.replay()
        outage.end()
        position = (await rig.store.entries(SOURCE, "k"))[0].position
        assert await rig.store.lease(SOURCE, "k", "t", 1000) is not None
        await rig.store.replace(SOURCE, "k", "t", position, "U" + json.dumps({"version": 99}))
        await rig.store.release(SOURCE, "k", "t")
        await rig.replay()
        assert await rig.pause() > 1
        assert rig.poisoned == []
        assert f"event {event(1).id} ended, because the event cannot be read" in caplog.text
        assert "cannot be read" in caplog.text


@simulated
async def test_stopping_replayer_announces_nothing() -> None:
    """The next instance does."""
    async with open_park() as rig:
        outage = Outage(rig.poison, "put")
        await rig.replay()
        await asyncio.sleep(10)
        calls = outage.calls
        with rig.replayer.invocation():
            rig.replayer.start(SOURCE, ["k"])
        await rig.replayer.wait_idle()
        assert outage.calls == calls
