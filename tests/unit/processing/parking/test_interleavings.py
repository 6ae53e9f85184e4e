"""Random interleavings of processors, crashes, overlapping owners and redrives.

No event is lost, no event overtakes another event of its key, and each event is in exactly one
place.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from hypothesis import example, given
from hypothesis import strategies as st

from processing.errors import OwnershipLostError
from processing.event import Event
from processing.parking.store import EntryKind
from tests.support.processing.events import SOURCE, batch
from tests.support.processing.parking_rig import Rig, keyed, open_rig, turns


@dataclass(frozen=True)
class Plan:
    """A schedule of deliveries, redrives and faults.

    Attributes:
        keys: keys of the events, in order.
        bad: sequence numbers of events that are poison until `fix_after` turns have passed.
        pace: turns that the handler takes, by sequence number.
        size: events per batch.
        pauses: turns between the batches.
        redrives: turns after which a redrive starts.
        crashes: turns after which an owner is cancelled; the next owner starts the batch again.
        takeovers: numbers of the batches that a second owner starts during the first's run.
    """

    keys: list[str | None]
    bad: frozenset[int]
    pace: list[int]
    size: int
    pauses: list[int]
    fix_after: int
    redrives: list[int]
    crashes: list[int]
    takeovers: frozenset[int]


@st.composite
def plans(draw: st.DrawFn, *, faults: bool) -> Plan:
    count = draw(st.integers(4, 24))
    moments = st.integers(0, 250)
    return Plan(
        keys=draw(st.lists(st.sampled_from(["a", "a", "b", None]), min_size=count, max_size=count)),
        bad=draw(st.frozensets(st.integers(0, count - 1), min_size=1, max_size=4)),
        pace=draw(st.lists(st.integers(0, 6), min_size=count, max_size=count)),
        size=draw(st.integers(1, 8)),
        pauses=draw(st.lists(st.integers(0, 60), min_size=1, max_size=4)),
        fix_after=draw(moments),
        redrives=draw(st.lists(moments, min_size=1, max_size=5)),
        crashes=draw(st.lists(st.integers(1, 40), max_size=3)) if faults else [],
        takeovers=draw(st.frozensets(st.integers(0, 5), max_size=2)) if faults else frozenset(),
    )


class Run:
    """A run of one plan."""

    def __init__(self, rig: Rig, plan: Plan) -> None:
        self.rig = rig
        self.plan = plan
        self.events = keyed(*plan.keys)
        rig.bad = set(plan.bad)
        rig.before = self.take_time
        self.crashes = list(plan.crashes)
        self.turns = 0
        self.answered = 0

    async def take_time(self, each: Event) -> None:
        await turns(self.plan.pace[each.sequence_number])

    async def carry_out(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.process())
            group.create_task(self.fix())
            for moment in self.plan.redrives:
                group.create_task(self.redrive(moment))

    async def process(self) -> None:
        events, size = self.events, self.plan.size
        for number, first in enumerate(range(0, len(events), size)):
            part = events[first : first + size]
            await turns(self.plan.pauses[number % len(self.plan.pauses)])
            if number in self.plan.takeovers:
                await self.process_twice(part)
            await self.process_part(part)

    async def process_part(self, part: list[Event]) -> None:
        """Process one batch, and start it again after each crash until it ends."""
        while True:
            running = asyncio.create_task(self.rig.processor().process(batch(part)))
            if self.crashes:
                await turns(self.crashes.pop())
                running.cancel()
            with suppress(asyncio.CancelledError, OwnershipLostError):
                result = await running
                total = result.handled + result.poisoned + result.parked + result.skipped
                assert total == len(part)
                return

    async def process_twice(self, part: list[Event]) -> None:
        """Process one batch with two owners, of which the earlier does not stop by itself."""
        late = asyncio.create_task(self.rig.processor().process(batch(part)))
        await turns(5)
        await self.process_part(part)
        with suppress(OwnershipLostError):
            await late

    async def fix(self) -> None:
        await turns(self.plan.fix_after)
        self.rig.bad.clear()

    async def redrive(self, moment: int) -> None:
        await turns(moment)
        await self.rig.redrive().run()

    async def places(self) -> dict[int, list[str]]:
        """Return the places of each event, by sequence number."""
        rig = self.rig
        found: dict[int, list[str]] = {each.sequence_number: [] for each in self.events}
        for number in set(rig.handled):
            found[number].append("handled")
        for number in await rig.parked(EntryKind.POISON, EntryKind.UNANNOUNCED):
            found[number].append("poisoned")
        for number in await rig.parked(EntryKind.EVENT):
            found[number].append("parked")
        return found

    def assert_order(self) -> None:
        """Assert that the first calls of each key's events are in order."""
        firsts = list(dict.fromkeys(self.rig.handled))
        for key in set(self.plan.keys):
            of_key = [number for number in firsts if self.plan.keys[number] == key]
            assert of_key == sorted(of_key), f"key {key}: {self.rig.handled}"


@given(plans(faults=False))
@example(
    Plan(
        keys=["a"] * 8,
        bad=frozenset({1}),
        pace=[0] * 8,
        size=2,
        pauses=[0],
        fix_after=0,
        redrives=list(range(10, 120, 10)),
        crashes=[],
        takeovers=frozenset(),
    )
)
async def test_each_event_is_handled_once_and_in_order_without_crashes(plan: Plan) -> None:
    """The handler gets one event of a key at a time."""
    async with open_rig() as rig:
        run = Run(rig, plan)
        await run.carry_out()
        run.assert_order()
        assert len(rig.handled) == len(set(rig.handled)), "handled twice"
        assert rig.most_in_flight <= 1
        assert all(len(places) == 1 for places in (await run.places()).values())
        poisoned = await rig.parked(EntryKind.POISON)
        assert set(poisoned) <= set(rig.poisoned), (
            "the queue has a message for each poisoned event in the lists"
        )
        for message in rig.poison.messages:
            stale = await rig.store.is_stale(SOURCE, message.verdict)
            assert stale != (message.sequence_number in poisoned)
        await finish(run)
        assert sorted(rig.handled) == list(range(len(run.events)))


@given(plans(faults=True))
async def test_crashes_and_takeovers_lose_no_event(plan: Plan) -> None:
    """An event in flight may be handled twice, but no event is overtaken."""
    async with open_rig() as rig:
        run = Run(rig, plan)
        await run.carry_out()
        run.assert_order()
        assert all(places for places in (await run.places()).values())
        await finish(run)


async def finish(run: Run) -> None:
    """Redrive the remaining events, and assert that all are handled and nothing is left."""
    rig = run.rig
    rig.bad.clear()
    await rig.redrive().run()
    await rig.redrive().run()  # removes stale copies of messages
    run.assert_order()
    assert set(rig.handled) == {each.sequence_number for each in run.events}
    assert rig.poison.messages == []
    assert await rig.store.keys() == []
    known = await rig.progress.load(SOURCE)
    assert known.finished_among(run.events) == list(run.events)
