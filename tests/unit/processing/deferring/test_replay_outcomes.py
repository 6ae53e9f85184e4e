"""The outcomes of a replayed event: poison, rounds without success, and lost bodies."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from breaker import CircuitOpenError
from processing.deferring.rounds import MOST_ROUNDS
from processing.errors import (
    DependencyUnavailableError,
    FaultyHandlerError,
    PoisonEventError,
    StorageUnavailableError,
)
from processing.event import Event
from processing.parking.deferral import DeferralReason
from processing.parking.event import Lone
from processing.parking.store import EntryKind
from tests.support.processing.events import SOURCE
from tests.support.processing.replay_rig import Rig, open_rig, simulated

DOWN = DependencyUnavailableError("down")
P, U, E = EntryKind.POISON, EntryKind.UNANNOUNCED, EntryKind.EVENT


@dataclass
class ThrottledError(Exception):
    """An answer of a server that limits the rate of calls."""

    status_code: int = 429


async def fail_rounds(rig: Rig, rounds: int, *, served: bool = True) -> None:
    """Replay the key in rounds, between which another key of the fleet succeeds."""
    for _ in range(rounds):
        await asyncio.sleep(5)
        if served:
            await rig.succeed()
        await rig.replay()


@pytest.mark.parametrize("error", [PoisonEventError("bad"), LookupError("x")])
@simulated
async def test_poison_goes_to_the_queue_and_the_key_continues(error: Exception) -> None:
    """With the order `skip`, as in a batch."""
    async with open_rig() as rig:
        rig.errors[1] = error
        await rig.defer(1, 2, attempts=4)
        await rig.replay()
        assert (rig.poisoned, rig.handled) == ([1], [2])
        assert await rig.key() is None
        (message,) = rig.poison.messages
        assert message.attempts == 4 + len(rig.started) - 1
        assert not message.parked
        assert message.first_attempt_time.startswith("2023-11-14")  # the time of the deferral


@simulated
async def test_poison_stays_in_the_list_until_the_queue_has_it() -> None:
    """The event must not be lost between the two."""
    async with open_rig(hold_seconds=0) as rig:

        async def away(_message: object) -> None:
            raise StorageUnavailableError("away")

        rig.poison.put = away  # type: ignore[method-assign, assignment]
        rig.errors[1] = PoisonEventError("bad")
        await rig.defer(1, 2)
        await rig.replay()
        assert await rig.waiting() == [(E, 1), (E, 2)]
        assert rig.started == [1]
        assert await rig.pause() > 1  # the handler is not called again at once


@simulated
async def test_poison_parks_the_key_for_an_operator() -> None:
    """With the order `park`, the later events wait behind the poisoned event."""
    async with open_rig(poison_ordering="park") as rig:
        rig.errors[1] = PoisonEventError("bad")
        await rig.defer(1, 2)
        await rig.replay()
        assert await rig.waiting() == [(P, 1), (E, 2)]
        assert rig.poisoned == [1]
        assert rig.poison.messages[0].parked
        assert await rig.store.due(SOURCE, most=10) == []
        await rig.replay()
        assert rig.started == [1]


@simulated
async def test_parked_poison_is_in_the_list_before_the_queue() -> None:
    """A redrive of the message alone would let the event overtake its key's earlier events."""
    async with open_rig(poison_ordering="park", hold_seconds=0) as rig:

        async def away(_message: object) -> None:
            raise StorageUnavailableError("away")

        rig.poison.put = away  # type: ignore[method-assign, assignment]
        rig.errors[1] = PoisonEventError("bad")
        await rig.defer(1, 2)
        await rig.replay()
        assert await rig.waiting() == [(U, 1), (E, 2)]


@simulated
async def test_large_poison_keeps_its_body_in_one_blob() -> None:
    """The blob of the parked event goes; the message has its own."""
    async with open_rig(poison_ordering="park") as rig:
        rig.errors[1] = PoisonEventError("bad")
        await rig.defer(1, bodies={1: b"x" * 100_000})
        await rig.replay()
        (message,) = rig.poison.messages
        assert message.claim_check is not None
        assert list(rig.claims.blobs) == [message.claim_check.blob]


@simulated
async def test_event_that_waits_alone_is_never_parked() -> None:
    """Nothing waits behind it."""
    async with open_rig(poison_ordering="park") as rig:
        place = Lone("x")
        rig.errors[1] = PoisonEventError("bad")
        await rig.defer(1, key=place)
        await rig.replay(place)
        assert await rig.key(place) is None
        assert (rig.poisoned, rig.poison.messages[0].parked) == ([1], False)


@simulated
async def test_poison_message_has_the_event_as_it_came() -> None:
    """A handler can replace the parts of its event, although the event is frozen."""
    async with open_rig() as rig:

        async def spoil(each: Event) -> None:
            object.__setattr__(each, "key", "other")
            object.__setattr__(each, "body", b"spoiled")

        rig.before = spoil
        rig.errors[1] = PoisonEventError("bad")
        await rig.defer(1)
        await rig.replay()
        (message,) = rig.poison.messages
        assert (message.key, message.payload) == ("k", b"{}")


@pytest.mark.parametrize("ordering", ["skip", "park"])
@simulated
async def test_replayed_and_poisoned_events_are_counted(ordering: str) -> None:
    """The alarm for poisoned events watches the metric that this counts."""
    async with open_rig(poison_ordering=ordering) as rig:
        rig.errors[3] = PoisonEventError("bad")
        rig.errors[4] = DOWN
        await rig.defer(1, 2, 3)
        await rig.defer(4, key="other")
        await rig.replay("k", "other")
        counts = rig.vitals.drain()
        assert (counts["replayed"], counts["poisoned"], counts["failures"]) == (2, 1, 2)


@pytest.mark.parametrize("ordering", ["skip", "park"])
@simulated
async def test_event_without_its_body_is_poisoned_on_record(ordering: str) -> None:
    """An operator restores the blob or discards the event."""
    async with open_rig(poison_ordering=ordering) as rig:
        await rig.defer(1, 2, bodies={1: b"large"})
        lost = rig.claims.blobs.popitem()
        await rig.replay()
        (message,) = rig.poison.messages
        assert message.claim_check is not None
        assert message.claim_check.blob == lost[0]
        assert "is gone" in message.error.message
        assert await rig.waiting() == ([(P, 1), (E, 2)] if ordering == "park" else [])
        assert rig.handled == ([] if ordering == "park" else [2])


@simulated
async def test_event_that_fails_in_ten_rounds_while_others_succeed_is_poisoned() -> None:
    """Its dependency works; the event is at fault."""
    async with open_rig() as rig:
        rig.errors[1] = DOWN
        await rig.defer(1, 2)
        await fail_rounds(rig, MOST_ROUNDS - 1)
        assert rig.poisoned == []
        assert (await rig.deferral()).rounds == MOST_ROUNDS - 1
        await fail_rounds(rig, 1)
        assert (rig.poisoned, rig.handled) == ([1], [2])
        assert rig.poison.messages[0].attempts == 1 + MOST_ROUNDS
        assert rig.poison.messages[0].error.type.endswith("DependencyUnavailableError")


@simulated
async def test_rounds_in_which_nothing_succeeds_do_not_count() -> None:
    """In an outage the event waits for as long as the outage lasts."""
    async with open_rig() as rig:
        await rig.succeed()
        rig.errors[1] = DOWN
        await rig.defer(1)
        await fail_rounds(rig, 3 * MOST_ROUNDS, served=False)
        assert (await rig.deferral()).rounds == 0
        assert rig.poisoned == []


@simulated
async def test_closing_of_the_circuit_is_no_success_of_another_key() -> None:
    """The circuit takes its closing for a success, but nothing was served."""
    async with open_rig() as rig:
        rig.errors[1] = DOWN
        await rig.defer(1)
        await rig.open()
        await asyncio.sleep(5)
        await rig.breaker.close_circuit(rig.breaker.circuit.generation, "test")
        await rig.replay()
        assert (await rig.deferral()).rounds == 0


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ThrottledError(), DeferralReason.THROTTLED),
        (FaultyHandlerError("forgot"), DeferralReason.FAULTY),
        ("refusal", DeferralReason.REFUSED),
    ],
)
@simulated
async def test_failure_that_is_not_the_events_fault_never_poisons(
    error: Exception | str, reason: DeferralReason
) -> None:
    """Throttling, refusals and a faulty handler are no rounds, and have no time limit."""
    async with open_rig(keep_max_seconds=1) as rig:
        cause = error if isinstance(error, Exception) else CircuitOpenError(rig.breaker.circuit)
        rig.errors[1] = cause
        await rig.defer(1)
        await fail_rounds(rig, 2 * MOST_ROUNDS)
        found = await rig.deferral()
        assert (found.rounds, found.reason, rig.poisoned) == (0, reason, [])


@simulated
async def test_event_is_poisoned_after_the_longest_time() -> None:
    """The operator's limit; 0 means that there is none."""
    async with open_rig(keep_max_seconds=100) as rig:
        rig.errors[1] = DOWN
        await rig.defer(1, 2)
        for _ in range(9):
            await asyncio.sleep(10)
            await rig.replay()
        assert rig.poisoned == []
        assert (await rig.deferral()).admitted_seconds == pytest.approx(90, abs=2)
        for _ in range(2):
            await asyncio.sleep(10)
            await rig.replay()
        assert (rig.poisoned, rig.handled) == ([1], [2])


@simulated
async def test_time_of_an_open_circuit_does_not_count() -> None:
    """Nothing could succeed in that time."""
    async with open_rig(keep_max_seconds=100) as rig:
        rig.errors[1] = DOWN
        await rig.defer(1)
        await asyncio.sleep(10)
        await rig.replay()
        await rig.open()
        await asyncio.sleep(1000)
        await rig.breaker.close_circuit(rig.breaker.circuit.generation, "test")
        await asyncio.sleep(10)
        await rig.replay()
        assert (await rig.deferral()).admitted_seconds == pytest.approx(20, abs=2)
        assert rig.poisoned == []
