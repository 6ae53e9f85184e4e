"""The replay of a deferred key: order, leases, retries and postponing."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from processing.deferring.replay import TURN_EVENTS
from processing.errors import DependencyUnavailableError, StorageUnavailableError
from processing.event import Event
from processing.parking.deferral import LONGEST_PAUSE_SECONDS
from processing.parking.event import Lone, is_reached
from processing.parking.store import EntryKind
from tests.support.processing.events import SOURCE
from tests.support.processing.replay_rig import open_rig, simulated

LEASE_OF_120: dict[str, Any] = {
    "handler_timeout_seconds": 60,
    "replay_lease_seconds": 120,
    "watchdog_seconds": 30,
}
DOWN = DependencyUnavailableError("down")


@simulated
async def test_events_are_replayed_in_order_and_the_key_is_released() -> None:
    """The events behind the failed event wait in the list, too."""
    async with open_rig() as rig:
        await rig.defer(3, 5, 9)
        await rig.replay()
        assert rig.handled == [3, 5, 9]
        assert await rig.key() is None


@simulated
async def test_events_that_join_during_the_replay_are_replayed_behind_the_others() -> None:
    """The list can grow until the script that finds it empty releases the key."""
    async with open_rig() as rig:

        async def join(each: Event) -> None:
            if each.sequence_number == 1:
                await rig.defer(2)
                await rig.defer(3)

        rig.before = join
        await rig.defer(1)
        await rig.replay()
        assert rig.handled == [1, 2, 3]
        assert await rig.key() is None


@simulated
async def test_kept_failure_is_tried_once_in_a_round() -> None:
    """Fast retries would burden a dependency that is down, once for each deferred key."""
    async with open_rig() as rig:
        rig.errors[1] = DOWN
        await rig.defer(1, 2)
        await rig.replay()
        assert rig.started == [1]
        assert await rig.waiting() == [(EntryKind.EVENT, 1), (EntryKind.EVENT, 2)]


@simulated
async def test_ordinary_error_keeps_its_retries_in_a_replay() -> None:
    """The event then goes to the poison queue, and the key continues."""
    async with open_rig() as rig:
        rig.errors[1] = LookupError("x")
        await rig.defer(1, 2)
        await rig.replay()
        assert rig.started == [1, 1, 1, 2]
        assert (rig.poisoned, rig.handled) == ([1], [2])


@simulated
async def test_pause_doubles_up_to_the_longest() -> None:
    """The first replay is due a second after the deferral."""
    async with open_rig(defer_max_seconds=10) as rig:
        rig.errors[1] = DOWN
        await rig.defer(1)
        pauses = []
        for _ in range(5):
            await rig.replay()
            pauses.append(await rig.pause())
        assert pauses == pytest.approx([2, 4, 8, 10, 10])


@pytest.mark.parametrize(("retry_after", "pause"), [(300, 300), (math.inf, LONGEST_PAUSE_SECONDS)])
@simulated
async def test_longer_pause_of_the_error_wins(retry_after: float, pause: float) -> None:
    """An endless pause would leave the key deferred forever."""
    async with open_rig(defer_max_seconds=10) as rig:
        rig.errors[1] = DependencyUnavailableError("down", retry_after=retry_after)
        await rig.defer(1)
        await rig.replay()
        assert await rig.pause() == pytest.approx(pause)


@simulated
async def test_failed_replay_stores_the_error_and_its_numbers() -> None:
    """An operator sees them in the list of parked keys."""
    async with open_rig() as rig:
        rig.errors[1] = DOWN
        await rig.defer(1, attempts=4)
        since = (await rig.deferral()).since
        await asyncio.sleep(7)
        await rig.replay()
        found = await rig.deferral()
        assert found.error == "DependencyUnavailableError: down"
        assert (found.attempts, found.tries, found.since) == (5, 1, since)
        assert found.last_try == since + 7


@simulated
async def test_numbers_begin_again_with_the_next_event() -> None:
    """The failures of an event say nothing about the next one; the key is deferred since before."""
    async with open_rig() as rig:
        rig.errors[1] = rig.errors[2] = DOWN
        await rig.defer(1, 2)
        since = (await rig.deferral()).since
        for _ in range(3):
            await asyncio.sleep(9)
            await rig.succeed()
            await rig.replay()
        assert (await rig.deferral()).rounds == 3
        del rig.errors[1]
        await rig.replay()
        found = await rig.deferral()
        assert (found.attempts, found.tries, found.rounds) == (1, 1, 0)
        assert (found.admitted_seconds, found.since) == (0, since)


@simulated
async def test_numbers_begin_again_although_the_process_died_behind_the_success() -> None:
    """The stored numbers name the event that they concern."""
    async with open_rig() as rig:
        rig.errors[1] = rig.errors[2] = DOWN
        await rig.defer(1, 2)
        for _ in range(9):
            await rig.succeed()
            await rig.replay()
        lease = await rig.store.lease(SOURCE, "k", "dies", 60_000)
        assert lease is not None
        position = (await rig.store.entries(SOURCE, "k"))[0].position
        await rig.store.finish(SOURCE, "k", "dies", position)
        await rig.store.release(SOURCE, "k", "dies")
        await rig.succeed()
        await rig.replay()
        assert (await rig.deferral()).rounds == 0
        assert rig.poisoned == []


@simulated
async def test_key_whose_lease_another_instance_holds_is_not_replayed() -> None:
    """Two replays of one key would overtake each other."""
    async with open_rig() as rig:
        await rig.defer(1)
        await rig.store.lease(SOURCE, "k", "another", 60_000)
        await rig.replay()
        assert rig.started == []


@simulated
async def test_key_that_waits_for_an_operator_is_not_replayed() -> None:
    """A redrive replays it."""
    async with open_rig() as rig:
        await rig.defer(1, 2)
        await rig.store.lease(SOURCE, "k", "t", 60_000)
        position = (await rig.store.entries(SOURCE, "k"))[0].position
        await rig.store.replace(SOURCE, "k", "t", position, "P{}")
        await rig.store.release(SOURCE, "k", "t")
        await rig.replay()
        assert rig.started == []


async def _lose_lease(rig: Any) -> None:
    """Let another instance take the lease, and let the replay's next renewal notice."""
    rig.store._leases.clear()
    await rig.store.lease(SOURCE, "k", "another", 3_600_000)
    await asyncio.sleep(45)


@simulated
async def test_replay_that_lost_its_lease_starts_no_further_event() -> None:
    """The event that ran is not finished, because the next holder may have started it."""
    async with open_rig(**LEASE_OF_120) as rig:
        rig.before = lambda _each: _lose_lease(rig)
        await rig.defer(1, 2)
        await rig.replay()
        assert rig.started == [1]
        assert [number for _, number in await rig.waiting()] == [1, 2]


@simulated
async def test_replay_that_lost_its_lease_makes_no_further_attempt() -> None:
    """The lease is checked before each attempt, also between the retries of one event."""
    async with open_rig(**LEASE_OF_120) as rig:
        rig.before = lambda _each: _lose_lease(rig)
        rig.errors[1] = LookupError("x")
        await rig.defer(1)
        await rig.replay()
        assert rig.started == [1]
        assert rig.poisoned == []


@simulated
async def test_call_that_might_outlast_the_lease_is_not_started() -> None:
    """While no renewal succeeds, the next holder may start the same event when the lease ends."""
    async with open_rig(**LEASE_OF_120) as rig:

        async def away(*_args: object) -> bool:
            raise StorageUnavailableError("away")

        async def slow(_each: Event) -> None:
            await asyncio.sleep(50)

        rig.before = slow
        rig.store.renew = away  # type: ignore[method-assign, assignment]
        await rig.defer(1, 2, 3)
        await rig.replay()
        assert rig.started == [1, 2]  # at 0 and at 50 s; at 100 s the lease has 20 s left


@simulated
async def test_lease_is_renewed_during_a_long_turn() -> None:
    """A turn can last longer than the lease."""
    async with open_rig(handler_timeout_seconds=10) as rig:

        async def slow(_each: Event) -> None:
            await asyncio.sleep(9)

        rig.before = slow
        await rig.defer(*range(30))
        await rig.replay()
        assert rig.handled == list(range(30))


@simulated
async def test_each_replay_takes_the_lease_with_its_own_token() -> None:
    """A replay that lost its lease cannot write with the token of the next one."""
    async with open_rig() as rig:
        tokens = []
        ask: Callable[..., Awaitable[Any]] = rig.store.lease

        async def lease(source: object, key: object, token: str, milliseconds: int) -> Any:
            tokens.append((token, milliseconds))
            return await ask(source, key, token, milliseconds)

        rig.store.lease = lease  # type: ignore[method-assign]
        rig.errors[1] = DOWN
        await rig.defer(1)
        await rig.replay()
        await rig.replay()
        assert len({token for token, _ in tokens}) == 2
        assert {milliseconds for _, milliseconds in tokens} == {
            210_000
        }  # the watchdog's 120 s, and one and a half calls


@simulated
async def test_lease_lasts_as_long_as_the_setting_says() -> None:
    """A pause of the process must not cost the lease."""
    async with open_rig(handler_timeout_seconds=1) as rig:
        await rig.defer(1, 2)

        async def keep(_each: Event) -> None:
            token, until = rig.store._leases[SOURCE, "k"]
            assert token
            left.append(until - rig.store._clock())

        left: list[float] = []
        rig.before = keep
        await rig.replay()
        assert left[0] == pytest.approx(180)


@simulated
async def test_large_event_is_replayed_whole_and_its_blob_removed() -> None:
    """The list contains only the claim check."""
    async with open_rig() as rig:
        seen: list[tuple[bytes, int]] = []

        async def look(each: Event) -> None:
            seen.append((each.body, len(rig.claims.blobs)))

        rig.before = look
        await rig.defer(1, bodies={1: b"large"})
        await rig.replay()
        assert seen == [(b"large", 1)]
        assert rig.claims.blobs == {}


@simulated
async def test_blob_stays_until_the_event_is_finished() -> None:
    """Otherwise an event whose finishing failed would have no body."""
    async with open_rig(hold_seconds=0) as rig:

        async def away(*_args: object, **_values: object) -> int:
            raise StorageUnavailableError("away")

        rig.store.finish = away  # type: ignore[method-assign]
        await rig.defer(1, bodies={1: b"large"})
        await rig.replay()
        assert rig.handled == [1]
        assert len(rig.claims.blobs) == 1


@simulated
async def test_finish_is_repeated_until_the_store_answers() -> None:
    """The event has been handled, and must not be handled again."""
    async with open_rig() as rig:
        finish: Callable[..., Awaitable[int]] = rig.store.finish
        failures = [StorageUnavailableError("too few replicas")] * 3

        async def sometimes(*args: object, **values: object) -> int:
            if failures:
                raise failures.pop()
            return await finish(*args, **values)

        rig.store.finish = sometimes  # type: ignore[method-assign]
        await rig.defer(1)
        await rig.replay()
        assert rig.handled == [1]
        assert await rig.key() is None


@simulated
async def test_blob_that_cannot_be_read_now_postpones_the_key() -> None:
    """The handler was not called, so no attempt is counted."""
    async with open_rig() as rig:

        async def away(_check: object) -> bytes:
            raise StorageUnavailableError("away")

        rig.claims.get_bytes = away  # type: ignore[method-assign, assignment]
        await rig.defer(1, bodies={1: b"large"})
        await rig.replay()
        found = await rig.deferral()
        assert (found.attempts, found.tries, found.error) == (1, 1, "StorageUnavailableError: away")
        assert await rig.pause() == pytest.approx(2)


@simulated
async def test_turn_ends_after_a_hundred_events() -> None:
    """The key is due again behind the other keys that are due."""
    async with open_rig() as rig:
        await rig.defer(*range(TURN_EVENTS + 1))
        await asyncio.sleep(5)
        await rig.defer(1000, key="other")
        await asyncio.sleep(5)
        await rig.replay()
        assert rig.handled == list(range(TURN_EVENTS))
        assert await rig.store.due(SOURCE, most=10) == ["other", "k"]


@simulated
async def test_no_event_starts_once_no_invocation_runs() -> None:
    """The host may freeze or end an instance that runs nothing; the event in flight finishes."""
    async with open_rig() as rig:
        running, ending = asyncio.Event(), asyncio.Event()

        async def wait(_each: Event) -> None:
            running.set()
            await ending.wait()

        rig.before = wait
        await rig.defer(1, 2)
        with rig.replayer.invocation():
            rig.replayer.start(SOURCE, ["k"])
            await running.wait()
        assert rig.replayer.busy
        ending.set()
        await rig.replayer.wait_idle()
        assert rig.handled == [1]
        assert not rig.replayer.busy


@simulated
async def test_stop_ends_the_pause_between_two_attempts() -> None:
    """The event stays deferred, and has not failed."""
    async with open_rig(retry_initial_seconds=1000, retry_max_seconds=3000) as rig:
        rig.errors[1] = LookupError("x")
        await rig.defer(1)
        with rig.replayer.invocation():
            rig.replayer.start(SOURCE, ["k"])
            await asyncio.sleep(1)
            rig.replayer.stop()
            await rig.replayer.wait_idle()
        assert rig.started == [1]
        assert asyncio.get_running_loop().time() < 10
        assert (await rig.deferral()).attempts == 1
        assert rig.poisoned == []


@simulated
async def test_finish_of_an_older_epoch_notes_no_replayed_position() -> None:
    """Else a rewind during the replay would skip the event that it wants to process again."""
    async with open_rig() as rig:

        async def rewind(_each: Event) -> None:
            await rig.store.progress.reset(SOURCE)

        rig.before = rewind
        await rig.defer(1)
        await rig.replay()
        assert (await rig.store.claim(SOURCE, ["k"])).replayed == {}


@simulated
async def test_keyless_event_that_waits_alone_is_replayed() -> None:
    """Its list is named after its position."""
    async with open_rig() as rig:
        place = Lone("x")
        await rig.defer(1, key=place)
        await rig.replay(place)
        assert rig.handled == [1]
        assert await rig.key(place) is None


@simulated
async def test_finish_notes_the_replayed_position() -> None:
    """The owner's next batch may contain the event again, and must skip it."""
    async with open_rig() as rig:
        await rig.defer(1)
        (entry,) = await rig.store.entries(SOURCE, "k")
        await rig.replay()
        replayed = (await rig.store.claim(SOURCE, ["k"])).replayed["k"]
        assert is_reached(entry.position, replayed)


@simulated
async def test_handler_that_cancels_its_own_task_has_failed() -> None:
    """As in a batch; the replay continues with the next event."""
    async with open_rig() as rig:

        async def cancel(each: Event) -> None:
            task = asyncio.current_task()
            if each.sequence_number == 1 and task is not None:
                task.cancel()
                await asyncio.sleep(1)

        rig.before = cancel
        await rig.defer(1, 2)
        await rig.replay()
        assert rig.started == [1, 1, 1, 2]
        assert (rig.poisoned, rig.handled) == ([1], [2])


@simulated
async def test_first_failure_of_the_next_event_is_no_round() -> None:
    """The last success was that of the key's earlier event, and not of another key."""
    async with open_rig() as rig:

        async def slow(each: Event) -> None:
            if each.sequence_number == 2:
                await asyncio.sleep(9)  # the circuit learns of the first event's success

        rig.before = slow
        rig.errors[2] = DOWN
        await rig.defer(1, 2)
        await asyncio.sleep(50)
        await rig.replay()
        found = await rig.deferral()
        assert rig.breaker.circuit.last_success_at is not None
        assert rig.breaker.circuit.last_success_at > found.since + 10
        assert (found.rounds, found.admitted_seconds, found.attempts) == (0, 0, 1)
