"""Replays of a handler that takes lists: the events behind the first one form lists."""

from __future__ import annotations

from processing.errors import DependencyUnavailableError, PoisonEventError
from processing.event import Event
from processing.parking.store import EntryKind
from tests.support.processing.replay_rig import open_rig, simulated

DOWN = DependencyUnavailableError("down")


@simulated
async def test_events_behind_the_failed_event_are_one_list() -> None:
    """The event that has failed before is called alone."""
    async with open_rig(takes_lists=True) as rig:
        await rig.defer(*range(1, 31))
        await rig.replay()
        assert rig.lists == [[1], [*range(2, 31)]]
        assert rig.handled == [*range(1, 31)]
        assert await rig.key() is None


@simulated
async def test_key_whose_first_event_has_not_failed_is_one_list() -> None:
    """Such as the second turn of a long list."""
    async with open_rig(takes_lists=True) as rig:
        await rig.defer(*range(1, 251))
        await rig.replay()
        await rig.replay()
        await rig.replay()
        assert rig.lists == [[1], [*range(2, 101)], [*range(101, 201)], [*range(201, 251)]]
        assert await rig.key() is None


@simulated
async def test_list_has_at_most_the_events_of_the_setting() -> None:
    """The setting bounds the lists of replays, too."""
    async with open_rig(takes_lists=True, batch_handler_events=4) as rig:
        await rig.defer(*range(1, 11))
        await rig.replay()
        assert max(map(len, rig.lists)) == 4
        assert rig.handled == [*range(1, 11)]


@simulated
async def test_bad_event_of_a_replay_fails_alone() -> None:
    """The events before it are handled once, and those behind it follow."""
    async with open_rig(takes_lists=True) as rig:
        rig.errors[50] = PoisonEventError("bad")
        await rig.defer(*range(1, 101))
        await rig.replay()
        assert rig.poisoned == [50]
        assert rig.handled == [each for each in range(1, 101) if each != 50]
        assert [50] in rig.lists
        assert len(rig.lists) <= 15
        assert await rig.key() is None


@simulated
async def test_dependency_error_of_a_replay_is_not_halved() -> None:
    """The first event of the list is called alone; it fails, and the key waits."""
    async with open_rig(takes_lists=True) as rig:

        async def down_behind_the_first(each: Event) -> None:
            if each.sequence_number > 1:
                raise DOWN

        rig.before = down_behind_the_first
        await rig.defer(*range(1, 31))
        await rig.replay()
        assert rig.lists == [[1], [*range(2, 31)], [2]]
        assert await rig.waiting() == [(EntryKind.EVENT, each) for each in range(2, 31)]
        assert (await rig.deferral()).attempts == 1


@simulated
async def test_probes_of_a_half_open_circuit_are_lists_of_one_event() -> None:
    """A permit admits one event."""
    async with open_rig(takes_lists=True, rules={"half_open_permits": 2}) as rig:
        await rig.half_open()
        await rig.defer(*range(1, 6))
        await rig.replay()
        assert rig.lists[:2] == [[1], [2]]
        assert rig.handled == [*range(1, 6)]


@simulated
async def test_list_of_a_replay_does_not_start_once_the_instance_stops() -> None:
    """The next instance replays the events."""
    async with open_rig(takes_lists=True) as rig:

        async def stop(each: Event) -> None:
            rig.replayer.stop()

        rig.before = stop
        await rig.defer(*range(1, 6))
        await rig.replay()
        assert rig.lists == [[1]]
        assert [number for _, number in await rig.waiting()] == [2, 3, 4, 5]


@simulated
async def test_list_of_a_replay_does_not_start_while_the_circuit_is_open() -> None:
    """The circuit opens while the first event runs."""
    async with open_rig(takes_lists=True) as rig:

        async def open_circuit(each: Event) -> None:
            await rig.open()

        rig.before = open_circuit
        await rig.defer(*range(1, 6))
        await rig.replay()
        assert rig.lists == [[1]]
