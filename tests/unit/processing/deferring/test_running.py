"""Deferred keys that are reported as running between their replays."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from breaker import CircuitState, Key
from processing.deferring.running import DeferredKeys
from processing.errors import DependencyUnavailableError, PoisonEventError
from processing.parking.event import ListKey, Lone
from processing.parking.store import LATEST_KEYS, Claim
from processing.progress.store import Progress
from tests.support.processing.events import SOURCE
from tests.support.processing.replay_rig import Rig, now, open_rig, simulated

OTHER = replace(SOURCE, partition="1")


async def running(rig: Rig) -> set[str]:
    """Return the tokens of the keys that the instance reports as running."""
    before = len(rig.circuit.reports)
    await rig.breaker.refresh()
    return {token for report in rig.circuit.reports[before:] for token in report.running}


def tokens(*keys: str) -> set[str]:
    return {Key(key).token for key in keys}


def claim(**latest: float) -> Claim:
    keys: dict[ListKey, float] = dict(latest.items())
    return Claim(Progress(), latest=keys)


@simulated
async def test_deferred_key_is_reported_until_the_fleet_has_a_success() -> None:
    """From then on its attempts do not count."""
    async with open_rig() as rig:
        rig.replayer.note_deferred(SOURCE, "k", now() + 1000)
        assert await running(rig) == tokens("k")
        rig.replayer.forget(SOURCE)
        await rig.succeed()
        rig.replayer.note_deferred(SOURCE, "k", now())
        assert await running(rig) == tokens("k")
        await asyncio.sleep(5)
        assert await running(rig) == tokens("k")
        await rig.succeed()
        await asyncio.sleep(1)
        assert await running(rig) == set()


@simulated
async def test_claim_names_the_latest_deferred_keys() -> None:
    """A new owner reports the keys that an earlier owner has deferred."""
    async with open_rig() as rig:
        rig.replayer.note_claim(SOURCE, claim(a=now() + 1000, b=now() + 1000))
        assert await running(rig) == tokens("a", "b")
        rig.replayer.note_claim(SOURCE, claim(b=now() + 1000))
        assert await running(rig) == tokens("b")
        rig.replayer.note_claim(SOURCE, claim())
        assert await running(rig) == set()


@simulated
async def test_key_deferred_before_the_last_success_is_not_reported() -> None:
    """A bad key among healthy ones is no second key of an outage."""
    async with open_rig() as rig:
        await asyncio.sleep(10)
        await rig.succeed()
        rig.replayer.note_claim(SOURCE, claim(a=now() - 10))
        rig.replayer.note_deferred(SOURCE, "b", now() - 10)
        assert await running(rig) == set()


@simulated
async def test_event_that_was_not_deferred_is_not_reported() -> None:
    """The store answers 0 as the time of such a deferral."""
    async with open_rig() as rig:
        assert rig.breaker.circuit.last_success_at is None
        rig.replayer.note_deferred(SOURCE, "k", 0.0)
        assert await running(rig) == set()


@simulated
async def test_lost_partition_is_not_reported() -> None:
    """Its new owner reports its keys."""
    async with open_rig() as rig:
        rig.replayer.note_deferred(SOURCE, "a", now() + 1000)
        rig.replayer.note_deferred(OTHER, "b", now() + 1000)
        rig.replayer.forget(SOURCE)
        assert await running(rig) == tokens("b")


@simulated
async def test_only_the_latest_keys_are_kept() -> None:
    """The standstill rule needs no more, and memory stays bounded."""
    async with open_rig() as rig:
        keys = DeferredKeys(rig.breaker)
        for number in range(100):
            keys.note_deferred(SOURCE, f"k{number}", now() + 1000 + number)
        assert len(keys._known) == LATEST_KEYS
        assert await running(rig) == tokens("k98", "k99")
        keys.clear()
        assert await running(rig) == set()


@simulated
async def test_repeated_notes_of_a_key_count_once() -> None:
    """Otherwise the key would be reported after its release."""
    async with open_rig() as rig:
        for _ in range(3):
            rig.replayer.note_deferred(SOURCE, "k", now() + 1000)
        rig.replayer.forget(SOURCE)
        assert await running(rig) == set()


@pytest.mark.parametrize("ordering", ["skip", "park"])
@simulated
async def test_key_that_is_not_deferred_any_more_is_not_reported(ordering: str) -> None:
    """A replay released or parked it."""
    async with open_rig(poison_ordering=ordering) as rig:
        rig.errors[1] = PoisonEventError("bad")
        await rig.defer(1)
        rig.replayer.note_deferred(SOURCE, "k", now() + 1000)
        await rig.replay()
        assert await running(rig) == set()


@simulated
async def test_key_that_a_redrive_released_is_not_reported_after_its_replay() -> None:
    """The replay finds no deferral."""
    async with open_rig() as rig:
        rig.replayer.note_deferred(SOURCE, "k", now() + 1000)
        await rig.replay()
        assert await running(rig) == set()


@simulated
async def test_stopped_instance_reports_nothing() -> None:
    """It owns no partition any more."""
    async with open_rig() as rig:
        rig.replayer.note_deferred(SOURCE, "k", now() + 1000)
        rig.replayer.stop()
        assert await running(rig) == set()


@simulated
async def test_keyless_event_stands_for_its_partition() -> None:
    """As in a batch, it counts as two keys."""
    async with open_rig() as rig:
        rig.replayer.note_deferred(SOURCE, Lone("x"), now() + 1000)
        assert await running(rig) == {Key("0", several=True).token}


@simulated
async def test_outage_in_which_all_keys_are_deferred_opens_the_circuit() -> None:
    """Only replays run, and between them nothing but the reported keys."""
    async with open_rig(rules={"failure_threshold": 100, "window_seconds": 30}) as rig:
        await rig.succeed()
        await asyncio.sleep(1)
        for number, key in enumerate("ab"):
            rig.errors[number] = DependencyUnavailableError("down")
            await rig.defer(number, key=key)
            rig.replayer.note_deferred(SOURCE, key, now())
        for _ in range(60):
            await asyncio.sleep(5)
            await rig.replayer.run_due(4)
            if rig.breaker.circuit.state is CircuitState.OPEN:
                return
        pytest.fail("the circuit is closed after five minutes")
