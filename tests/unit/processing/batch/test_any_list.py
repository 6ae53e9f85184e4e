"""Any batch for a handler that takes lists, with random keys, failures and settings."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from processing.errors import DependencyUnavailableError, PoisonEventError
from processing.event import Event
from processing.handlers.loading import LoadedHandler
from processing.parking.store import EntryKind
from tests.support.processing.events import SOURCE, batch
from tests.support.processing.parking_rig import Rig, keyed, open_rig

OUTCOMES = ("ok", "ok", "ok", "ok", "ok", "poison", "fail", "flaky", "outage")
ERRORS: dict[str, Exception] = {
    "poison": PoisonEventError("bad"),
    "fail": LookupError("x"),
    "flaky": LookupError("once"),
    "outage": DependencyUnavailableError("down"),
}


@dataclass(frozen=True)
class Plan:
    """A random batch and its settings; `outcomes` has the handler's behaviour for each event."""

    keys: list[str | None]
    outcomes: list[str]
    settings: dict[str, Any]

    @property
    def parks(self) -> bool:
        return bool(self.settings["poison_ordering"] == "park")

    @property
    def most_calls(self) -> float:
        """The most calls: some for each event that fails, and lists of the others.

        An outage is no search: each event of its list is called alone.
        """
        bad = sum(each != "ok" for each in self.outcomes)
        alone = int(self.settings["max_attempts"])
        search = 2 * math.log2(len(self.keys) + 1) + 3 + alone
        lists = len(self.keys) / int(self.settings["batch_handler_events"]) + len({*self.keys}) + 1
        outages = len(self.keys) * alone if "outage" in self.outcomes else 0
        return lists + bad * (search + 1) + outages


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    keys = draw(st.lists(st.sampled_from(["a", "b", "c", "", None]), min_size=1, max_size=40))
    chosen = {
        "batch_handler_events": draw(st.sampled_from([1, 2, 5, 100])),
        "max_lanes": draw(st.integers(1, 5)),
        "progress_mode": draw(st.sampled_from(["strict", "relaxed"])),
        "poison_ordering": draw(st.sampled_from(["skip", "park"])),
        "keyless_order": draw(st.sampled_from(["partition", "none"])),
        "deferred_events_max": draw(st.sampled_from([0, 10_000])),
        "defer_after_seconds": 0.0,
        "max_attempts": 2,
    }
    outcomes = draw(st.lists(st.sampled_from(OUTCOMES), min_size=len(keys), max_size=len(keys)))
    return Plan(keys, outcomes, chosen)


class Run:
    """Deliveries of a plan's batch; the calls that succeed are the only ones that handle events."""

    def __init__(self, rig: Rig, plan: Plan) -> None:
        self.rig = rig
        self.plan = plan
        self.outcomes = plan.outcomes
        self.events = keyed(*plan.keys)
        self.calls = 0
        self.seen: set[int] = set()
        self.in_flight: set[str | None] = set()
        rig.handler = LoadedHandler("tests:handler", self.handle, timeout_seconds=60)

    async def handle(self, events: list[Event]) -> None:
        self.calls += 1
        numbers = [each.sequence_number for each in events]
        assert numbers == sorted(set(numbers))
        assert len(events) <= self.plan.settings["batch_handler_events"]
        keys = {each.key for each in events if self.in_order(each)}
        assert not keys & self.in_flight, "a key has one call at a time"
        self.in_flight |= keys
        try:
            await asyncio.sleep(0)
            for number in numbers:
                outcome = self.outcomes[number]
                again = number in self.seen
                if len(numbers) == 1:
                    self.seen.add(number)
                if outcome != "ok" and not (outcome == "flaky" and again):
                    raise ERRORS[outcome]
        finally:
            self.in_flight -= keys
        self.rig.handled += numbers

    def in_order(self, event: Event) -> bool:
        return event.key is not None or self.plan.settings["keyless_order"] == "partition"

    async def deliver(self) -> bool:
        """Deliver the batch once, and return whether it ended."""
        try:
            await self.rig.processor(**self.plan.settings).process(batch(self.events))
        except DependencyUnavailableError:
            return False
        return True

    async def check(self) -> int:
        """Assert the invariants after a delivery, and return the number of events that ended."""
        handled = self.rig.handled
        assert len(handled) == len(set(handled)), "no event is handled twice"
        poisoned = {message.sequence_number for message in self.rig.poison.messages}
        parked = await self.rig.parked(EntryKind.EVENT)
        ended = [*handled, *poisoned, *parked]
        assert len(ended) == len(set(ended)), "an event ends in one place"
        for number in poisoned:
            assert self.plan.outcomes[number] in ("poison", "fail")
        for key in {each.key for each in self.events if self.in_order(each)}:
            lane = [each.sequence_number for each in self.events if each.key == key]
            found = [number for number in handled if number in lane]
            assert found == sorted(found), "each key is handled in order"
            behind = [number in set(parked) for number in lane if number in ended]
            assert behind == sorted(behind), "nothing overtakes a parked event"
            done = [number in set(ended) for number in lane]
            assert done == sorted(done, reverse=True), "the unfinished events are the lane's end"
        known = await self.rig.progress.load(SOURCE)
        finished = {each.sequence_number for each in known.finished_among(self.events)}
        assert finished == set(ended)
        return len(ended)


@settings(max_examples=40)
@given(plans())
async def test_each_event_of_a_list_ends_in_one_place_and_in_order(plan: Plan) -> None:
    """An event that fails takes no other event with it, and the search for it is bounded."""
    async with open_rig(failure_threshold=10_000) as rig:
        run = Run(rig, plan)
        whole = await run.deliver()
        ended = await run.check()
        assert whole == (ended == len(run.events))
        assert run.calls <= plan.most_calls
        if whole and not plan.parks and "outage" not in plan.outcomes:
            good = [n for n, each in enumerate(plan.outcomes) if each in ("ok", "flaky")]
            assert sorted(rig.handled) == good
        run.outcomes = ["ok"] * len(run.events)
        assert await run.deliver()
        assert await run.check() == len(run.events)
