"""The replayer: which replays run at the same time, and the timer's run."""

from __future__ import annotations

import asyncio
import bdb
from dataclasses import replace
from typing import Any

import pytest

from processing.deferring.admission import MOST_REPLAYS
from processing.deferring.heartbeat import MemoryHeartbeat
from processing.errors import DependencyUnavailableError, StorageUnavailableError
from processing.event import Event
from processing.formats.event_fields import key_hash
from processing.parking.store import DUE_KEYS, Claim
from processing.progress.store import Progress
from tests.support.processing.events import SOURCE
from tests.support.processing.replay_rig import Rig, now, open_rig, simulated

OTHER = replace(SOURCE, partition="1")
DOWN = DependencyUnavailableError("down")


async def defer_keys(rig: Rig, count: int) -> list[str]:
    """Defer one event of each of several keys."""
    keys = [f"k{number:03d}" for number in range(count)]
    for number, key in enumerate(keys):
        await rig.defer(number, key=key)
    return keys


@simulated
async def test_at_most_sixteen_replays_run_and_the_others_follow() -> None:
    """Replays share the instance with the lanes of its batches."""
    async with open_rig() as rig:
        running = most = 0

        async def wait(_each: Event) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(1)
            running -= 1

        rig.before = wait
        keys = await defer_keys(rig, 3 * MOST_REPLAYS)
        await rig.replay(*keys)
        assert most == MOST_REPLAYS
        assert sorted(rig.handled) == list(range(len(keys)))


@simulated
async def test_key_that_is_being_replayed_is_not_started_again() -> None:
    """Each batch's claim returns the key for as long as its replay runs."""
    async with open_rig() as rig:
        leases = 0
        ask: Any = rig.store.lease

        async def lease(*args: Any) -> Any:
            nonlocal leases
            leases += 1
            return await ask(*args)

        rig.store.lease = lease  # type: ignore[method-assign, assignment]
        rig.before = lambda _each: asyncio.sleep(10)
        await rig.defer(1)
        with rig.replayer.invocation():
            for _ in range(5):
                rig.replayer.start(SOURCE, ["k"])
                await asyncio.sleep(1)
            await rig.replayer.wait_idle()
        assert (rig.handled, leases) == ([1], 1)


@simulated
async def test_replay_runs_beside_the_invocation_that_started_it() -> None:
    """A batch never waits for the call that a replay makes."""
    async with open_rig() as rig:
        rig.before = lambda _each: asyncio.sleep(50)
        await rig.defer(1)
        with rig.replayer.invocation():
            rig.replayer.start(SOURCE, ["k"])
            await asyncio.sleep(0.1)
        assert asyncio.get_running_loop().time() < 1
        assert rig.replayer.busy
        await rig.replayer.wait_idle()
        assert rig.handled == [1]


@simulated
async def test_waiting_keys_are_dropped_with_the_last_invocation() -> None:
    """The next claim or the timer starts them; their time may have changed by then."""
    async with open_rig() as rig:
        rig.before = lambda _each: asyncio.sleep(5)
        keys = await defer_keys(rig, MOST_REPLAYS + 1)
        with rig.replayer.invocation():
            rig.replayer.start(SOURCE, keys)
            await asyncio.sleep(1)
        await asyncio.sleep(10)
        assert len(rig.handled) == MOST_REPLAYS
        await rig.defer(1000, key="other")
        await rig.replay("other")
        assert len(rig.handled) == MOST_REPLAYS + 1
        assert rig.handled[-1] == 1000


@simulated
async def test_stopped_replayer_starts_nothing() -> None:
    """The instance is shutting down; a replay in flight finishes."""
    async with open_rig() as rig:
        rig.before = lambda _each: asyncio.sleep(5)
        await rig.defer(1, 2)
        await rig.defer(3, key="other")
        with rig.replayer.invocation():
            rig.replayer.start(SOURCE, ["k"])
            await asyncio.sleep(1)
            rig.replayer.stop()
            rig.replayer.start(SOURCE, ["other"])
            await rig.replayer.wait_idle()
            rig.replayer.start(SOURCE, ["other"])
            assert not rig.replayer.busy
        assert rig.handled == [1]


@simulated
async def test_replay_that_was_cancelled_before_its_first_step_does_not_prevent_a_stop() -> None:
    """Its task has ended without a step that could remove it."""
    async with open_rig() as rig:
        await rig.defer(1)
        others = asyncio.all_tasks()
        with rig.replayer.invocation():
            rig.replayer.start(SOURCE, ["k"])
            for task in asyncio.all_tasks() - others:
                task.cancel()
            await asyncio.sleep(1)
            rig.replayer.stop()
            await rig.replayer.wait_idle()
        assert rig.handled == []


@simulated
async def test_writing_is_true_while_an_outcome_is_written() -> None:
    """A shutdown waits for writes longer than for handlers."""
    async with open_rig() as rig:
        finish: Any = rig.store.finish
        seen = []

        async def slow(*args: Any, **values: Any) -> Any:
            await asyncio.sleep(5)
            return await finish(*args, **values)

        rig.store.finish = slow  # type: ignore[method-assign]

        async def look(_each: Event) -> None:
            seen.append(rig.replayer.writing)

        rig.before = look
        await rig.defer(1)
        with rig.replayer.invocation():
            rig.replayer.start(SOURCE, ["k"])
            await asyncio.sleep(2)
            seen.append(rig.replayer.writing)
            await rig.replayer.wait_idle()
        assert [*seen, rig.replayer.writing] == [False, True, False]


@simulated
async def test_timer_replays_the_due_keys_of_all_partitions() -> None:
    """A partition without new events has no batch that replays its keys."""
    async with open_rig() as rig:
        await rig.defer(*range(250))
        await rig.defer(1000, 1001, source=OTHER)
        await rig.defer(2000, key="later")
        rig.errors[2000] = DOWN
        assert await rig.replayer.run_due(4) == 252
        assert sorted(rig.handled) == [*range(250), 1000, 1001]
        assert rig.started.count(2000) == 1
        assert asyncio.get_running_loop().time() < 1


@simulated
async def test_timer_starts_more_keys_than_one_query_returns() -> None:
    """The store returns few keys at a time."""
    async with open_rig() as rig:
        await defer_keys(rig, DUE_KEYS + 50)
        assert await rig.replayer.run_due(4) == DUE_KEYS + 50


@simulated
async def test_timer_ends_in_time_and_waits_for_no_call() -> None:
    """A dependency that hangs must not stop the timer's heartbeat."""
    async with open_rig() as rig:
        rig.before = lambda _each: asyncio.sleep(50)
        await rig.defer(1, 2)
        heartbeat = MemoryHeartbeat(now)
        assert await rig.replayer.run_due(4, heartbeat) == 0
        assert asyncio.get_running_loop().time() == pytest.approx(4, abs=0.3)
        assert await heartbeat.age() == 0
        await rig.replayer.wait_idle()
        assert rig.handled == [1]


@simulated
async def test_timer_starts_no_event_after_its_time() -> None:
    """An event that is in flight then finishes."""
    async with open_rig() as rig:
        rig.before = lambda _each: asyncio.sleep(1.5)
        await rig.defer(*range(10))
        finished = await rig.replayer.run_due(4)
        await rig.replayer.wait_idle()
        assert (finished, len(rig.handled)) == (2, 3)


@simulated
async def test_timer_asks_once_for_a_key_that_another_instance_replays() -> None:
    """The key stays due while its replay runs; asking in a loop would burden Redis."""
    async with open_rig() as rig:
        await rig.defer(1)
        await rig.defer(2, key="free")
        await rig.store.lease(SOURCE, "k", "another", 600_000)
        queries = 0
        ask: Any = rig.store.due

        async def due(*args: Any, **values: Any) -> Any:
            nonlocal queries
            queries += 1
            return await ask(*args, **values)

        rig.store.due = due  # type: ignore[method-assign]
        assert await rig.replayer.run_due(4) == 1
        assert queries == 2


@simulated
async def test_timer_asks_seldom_while_a_call_hangs() -> None:
    """Another instance may have taken a key whose turn ended here; the key is not due any more."""
    async with open_rig() as rig:
        await rig.defer(*range(150))
        await rig.defer(1000, key="hangs")
        queries = 0
        ask: Any = rig.store.due

        async def due(*args: Any, **values: Any) -> Any:
            nonlocal queries
            queries += 1
            assert queries < 50
            return [key for key in await ask(*args, **values) if key == "hangs" or queries == 1]

        async def hang(each: Event) -> None:
            if each.sequence_number == 1000:
                await asyncio.sleep(60)

        rig.store.due = due  # type: ignore[method-assign]
        rig.before = hang
        assert await rig.replayer.run_due(4) == 100


@simulated
async def test_timer_reaches_keys_behind_those_that_others_replay() -> None:
    """One query of the store returns few keys, and the busy ones stay due."""
    async with open_rig() as rig:
        for key in await defer_keys(rig, DUE_KEYS):
            await rig.store.lease(SOURCE, key, "another", 600_000)
        await asyncio.sleep(1)
        await rig.defer(1000, key="free")
        assert await rig.replayer.run_due(4) == 1


@simulated
async def test_timer_makes_all_keys_due_after_a_closing() -> None:
    """Their pauses have grown while the dependency was down."""
    async with open_rig() as rig:
        rig.errors[1] = DOWN
        await rig.defer(1)
        for _ in range(5):
            await rig.replay()
        await rig.open()
        del rig.errors[1]
        assert await rig.replayer.run_due(4) == 0
        await rig.breaker.close_circuit(rig.breaker.circuit.generation, "test")
        assert await rig.pause() > 10
        assert await rig.replayer.run_due(4) == 1


@simulated
async def test_timer_follows_the_ramp() -> None:
    """More replays start while the timer runs, without another claim."""
    async with open_rig(rules={"ramp_seconds": 4}) as rig:
        await defer_keys(rig, 8)
        await rig.open()
        await rig.breaker.close_circuit(rig.breaker.circuit.generation, "test")
        assert await rig.replayer.run_due(4) == 8
        assert asyncio.get_running_loop().time() > 0.2


@simulated
async def test_timer_with_an_open_circuit_beats_without_a_query() -> None:
    """An open circuit is no standstill of the timer."""
    async with open_rig() as rig:
        await rig.defer(1)
        await rig.open()

        async def refuse(*_args: object, **_values: object) -> Any:
            raise AssertionError("asked")

        rig.store.due = refuse  # type: ignore[method-assign]
        heartbeat = MemoryHeartbeat(now)
        assert await rig.replayer.run_due(4, heartbeat) == 0
        await asyncio.sleep(7)
        assert await heartbeat.age() == pytest.approx(7)


@simulated
async def test_failed_run_of_the_timer_has_no_heartbeat() -> None:
    """Health and the alarm see the age of the last successful run."""
    async with open_rig() as rig:

        async def away() -> Any:
            raise StorageUnavailableError("away")

        rig.store.sources = away  # type: ignore[method-assign]
        heartbeat = MemoryHeartbeat(now)
        with pytest.raises(StorageUnavailableError):
            await rig.replayer.run_due(4, heartbeat)
        assert await heartbeat.age() is None


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (StorageUnavailableError("away"), "ended: StorageUnavailableError: away"),
        (AttributeError("broken"), "failed"),
    ],
)
@simulated
async def test_error_ends_only_its_own_replay(
    error: Exception, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The key stays deferred, the other keys are replayed, and the log names the error."""
    async with open_rig() as rig:
        entries: Any = rig.store.entries

        async def sometimes(source: Any, key: Any, **values: Any) -> Any:
            if key == "k":
                raise error
            return await entries(source, key, **values)

        rig.store.entries = sometimes  # type: ignore[method-assign]
        await rig.defer(1)
        await rig.defer(2, key="other")
        await rig.replay("k", "other")
        assert rig.handled == [2]
        assert await rig.key() is not None
        place = f"The replay of partition {SOURCE}, key {key_hash('k')} "
        assert f"{place}{says}; the key stays deferred" in caplog.text


@simulated
async def test_lost_partition_has_no_waiting_keys() -> None:
    """Its new owner replays them."""
    async with open_rig() as rig:
        rig.before = lambda _each: asyncio.sleep(5)
        keys = await defer_keys(rig, MOST_REPLAYS + 5)
        with rig.replayer.invocation():
            rig.replayer.start(SOURCE, keys)
            rig.replayer.note_claim(SOURCE, Claim(Progress()))
            rig.replayer.forget(SOURCE)
            await rig.replayer.wait_idle()
        assert len(rig.handled) == MOST_REPLAYS


@simulated
async def test_replayer_forgets_the_keys_that_it_has_replayed() -> None:
    """A hub has more keys than memory, and another instance may release a key."""
    async with open_rig() as rig:
        await rig.defer(*range(150))
        await rig.replay()
        await rig.replayer.run_due(4)
        assert len(rig.handled) == 150
        assert not (rig.replayer._tasks or rig.replayer._waiting or rig.replayer._unfinished)


@simulated
async def test_timer_prepares_the_handler_only_if_a_key_is_due() -> None:
    """An idle instance opens no pool, and a start that fails keeps the key."""
    async with open_rig() as rig:
        prepared: list[int] = []

        async def prepare() -> None:
            prepared.append(len(rig.handled))
            if len(prepared) == 1:
                raise StorageUnavailableError("no pool")

        assert await rig.replayer.run_due(5, prepare=prepare) == 0
        assert prepared == []
        await rig.defer(1)
        with pytest.raises(StorageUnavailableError, match="no pool"):
            await rig.replayer.run_due(5, prepare=prepare)
        assert rig.handled == []
        assert await rig.replayer.run_due(5, prepare=prepare) == 1
        assert prepared[:2] == [0, 0]


@simulated
async def test_replay_that_a_left_debugger_ends_names_its_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`BdbQuit` has no text, and the line of the log would end in nothing."""
    async with open_rig() as rig:
        rig.errors[1] = bdb.BdbQuit()
        await rig.defer(1)
        await rig.replay("k")
        assert "failed in a replay (attempts: 2): BdbQuit; its key waits" in caplog.text
