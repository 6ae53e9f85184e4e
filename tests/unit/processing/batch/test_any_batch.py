"""Any batch, with random keys, failures and settings."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from breaker import CircuitOpenError, CircuitState
from processing.errors import DependencyUnavailableError, PoisonEventError
from processing.event import Event
from processing.handlers.loading import LoadedHandler
from processing.parking.store import EntryKind
from tests.support.processing.events import SOURCE, batch
from tests.support.processing.parking_rig import Rig, keyed, open_rig

HANDLER_TIMEOUT_SECONDS = 0.001


@dataclass(frozen=True)
class Plan:
    """A random batch and its settings.

    Attributes:
        keys: keys of the events, in order.
        outcomes: the handler's behaviour for each event.
        repeated: sequence numbers of events that are repeated at the batch's end.
        threshold: failures that open the circuit.
        settings: settings of processing.
    """

    keys: list[str | None]
    outcomes: list[str]
    repeated: frozenset[int]
    threshold: int
    settings: dict[str, Any]

    def in_order(self, key: str | None) -> bool:
        """Return whether this key's events are one lane."""
        return key is not None or self.settings["keyless_order"] == "partition"


OUTCOMES = ("ok", "ok", "ok", "ok", "poison", "fail", "flaky", "outage", "hang")


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    keys = draw(st.lists(st.sampled_from(["a", "b", "c", "", None]), min_size=1, max_size=30))
    settings = {
        "max_lanes": draw(st.integers(1, 5)),
        "progress_mode": draw(st.sampled_from(["strict", "relaxed"])),
        "poison_ordering": draw(st.sampled_from(["skip", "park"])),
        "keyless_order": draw(st.sampled_from(["partition", "none"])),
        "max_attempts": 2,
    }
    return Plan(
        keys,
        draw(st.lists(st.sampled_from(OUTCOMES), min_size=len(keys), max_size=len(keys))),
        draw(st.frozensets(st.integers(0, len(keys) - 1), max_size=3)),
        draw(st.integers(1, 8)),
        settings,
    )


class Run:
    """Repeated deliveries of a plan's batch."""

    def __init__(self, rig: Rig, plan: Plan) -> None:
        self.rig = rig
        self.plan = plan
        self.events = keyed(*plan.keys)
        self.outcomes = plan.outcomes
        self.calls: list[Event] = []
        self.most_in_flight: dict[str | None, int] = defaultdict(int)
        rig.before = self.behave
        rig.handler = LoadedHandler(
            "tests:handler", rig.handler.handle, timeout_seconds=HANDLER_TIMEOUT_SECONDS
        )

    async def behave(self, each: Event) -> None:
        at_once = self.rig.in_flight[each.key]
        self.most_in_flight[each.key] = max(self.most_in_flight[each.key], at_once)
        again = each in self.calls
        self.calls.append(each)
        await asyncio.sleep(0)
        match self.outcomes[each.sequence_number]:
            case "poison":
                raise PoisonEventError("bad")
            case "fail":
                raise LookupError("x")
            case "flaky" if not again:
                raise LookupError("once")
            case "outage":
                raise DependencyUnavailableError("down")
            case "hang":
                await asyncio.Event().wait()

    async def deliver(self, events: list[Event]) -> bool:
        """Deliver the events once, and return whether the batch ended."""
        try:
            await self.rig.processor(**self.plan.settings).process(batch(events))
        except (CircuitOpenError, DependencyUnavailableError):
            return False
        return True

    async def places(self) -> dict[int, list[str]]:
        """Return the places where each event ended; an unfinished event has none."""
        found: dict[int, list[str]] = {each.sequence_number: [] for each in self.events}
        for number in self.rig.handled:
            found[number].append("handled")
        for number in {message.sequence_number for message in self.rig.poison.messages}:
            found[number].append("poisoned")
        for number in await self.rig.parked(EntryKind.EVENT):
            found[number].append("parked")
        return found

    async def check(self) -> set[int]:
        """Assert the invariants after a delivery, and return the events that ended."""
        places = await self.places()
        assert all(len(each) <= 1 for each in places.values()), places
        ends = {number for number, place in places.items() if place}
        for key in set(self.plan.keys):
            if not self.plan.in_order(key):
                continue
            lane = [each for each in self.events if each.key == key]
            called = [each for each in self.calls if each.key == key]
            assert called == sorted(called, key=lambda each: each.sequence_number)
            ended = [each.sequence_number in ends for each in lane]
            assert ended == sorted(ended, reverse=True), (
                "the unfinished events are the end of the lane"
            )
            assert self.most_in_flight[key] <= 1
            if self.plan.settings["poison_ordering"] == "park":
                found = [place for each in lane for place in places[each.sequence_number]]
                behind = found[found.index("poisoned") + 1 :] if "poisoned" in found else []
                assert set(behind) <= {"parked"}, "nothing overtakes a poisoned event"
        known = await self.rig.progress.load(SOURCE)
        assert {each.sequence_number for each in known.finished_among(self.events)} == ends
        return ends

    async def heal(self) -> None:
        """Let the handler succeed from now on, and close the circuit."""
        self.outcomes = ["ok"] * len(self.events)
        circuit = self.rig.breaker.circuit
        if circuit.state is not CircuitState.CLOSED:
            await self.rig.breaker.close_circuit(circuit.generation, "test")


@given(plans())
@example(
    Plan(
        ["a", "b", "a", "a", "b"],
        ["ok", "hang", "poison", "ok", "ok"],
        frozenset({0, 3}),
        5,
        {"max_lanes": 2, "poison_ordering": "park", "keyless_order": "partition"},
    )
)
async def test_each_event_of_a_batch_ends_in_one_place_and_in_order(plan: Plan) -> None:
    """An event is handled, poisoned, parked or unfinished, and exactly one of these.

    The calls of a key are in order and one at a time. The unfinished events are the end of their
    lane. A second delivery after the faults are over ends the batch, and moves no event that had
    ended.
    """
    async with open_rig(failure_threshold=plan.threshold) as rig:
        run = Run(rig, plan)
        whole = [*run.events, *(run.events[number] for number in sorted(plan.repeated))]
        ended = await run.deliver(whole)
        ends = await run.check()
        assert ended == (len(ends) == len(run.events))
        before = await run.places()
        for number, place in before.items():
            expected = {"handled": ("ok", "flaky"), "poisoned": ("poison", "fail")}
            assert all(plan.outcomes[number] in expected.get(each, OUTCOMES) for each in place)
        calls = Counter(each.sequence_number for each in run.calls)
        await run.heal()
        assert await run.deliver(whole)
        assert len(await run.check()) == len(run.events)
        after = await run.places()
        for number in ends:
            assert after[number] == before[number]
            assert calls[number] == sum(each.sequence_number == number for each in run.calls)
