"""The downstream: it records what was handled, and finds what was lost, overtaken or doubled."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from processing.errors import DependencyUnavailableError, PoisonEventError
from processing.event import Event
from processing.identity import Source
from processing.parking.event import ListKey, Lone, position_of
from processing.poison.memory import MemoryPoisonQueue
from processing.poison.message import PoisonMessage
from tests.model.plan import STUMBLE_SECONDS

if TYPE_CHECKING:
    from tests.model.cluster import Cluster
    from tests.model.node import Node
    from tests.model.plan import Place, Plan


@dataclass(slots=True)
class Invocation:
    """One invocation of the processor.

    Attributes:
        starts: number of attempts of each list's events since the claim is not the latest.
    """

    source: Source
    owner: int = 0
    starts: dict[ListKey, int] = field(default_factory=lambda: defaultdict(int))


INVOCATION: ContextVar[Invocation | None] = ContextVar("invocation", default=None)


def place_of(event: Event | PoisonMessage) -> Place:
    """Return the partition and sequence number of an event."""
    return event.source.partition, event.sequence_number


class Sink:
    """The downstream of one run.

    Attributes:
        handled: how often each event was handled.
        skipped: events that were put into the poison queue while their key continues.
        repeats: events that a rewind wants to be handled again.
        faults: what broke a promise.
        duplicates: number of events that were handled again.
        rewound: whether an operator has rewound a partition.
    """

    def __init__(self, plan: Plan, hub: Mapping[str, Sequence[Event]], cluster: Cluster) -> None:
        self._plan = plan
        self._hub = hub
        self._cluster = cluster
        self._own = {id(event) for events in hub.values() for event in events}
        self.healed = False
        self.handled: dict[Place, int] = defaultdict(int)
        self.skipped: set[Place] = set()
        self.repeats: set[Place] = set()
        self.faults: list[str] = []
        self.duplicates = 0
        self.rewound = False
        self._before: dict[Place, list[Place]] = {}
        self._behind: dict[Place, list[Place]] = {}
        for partition, events in hub.items():
            earlier: dict[ListKey, list[Place]] = defaultdict(list)
            for event in events:
                key = self.list_of(event)
                place = (partition, event.sequence_number)
                self._before[place] = list(earlier[key])
                for each in earlier[key]:
                    self._behind[each].append(place)
                self._behind[place] = []
                earlier[key].append(place)

    def list_of(self, event: Event) -> ListKey:
        """Return the name of the list that the event would join."""
        if event.key is None and self._plan.settings["keyless_order"] == "none":
            return Lone(position_of(event))
        return event.key

    async def handle(self, event: Event, node: Node) -> None:
        """Handle one event for a process."""
        if not self.healed and node.rng.random() < self._plan.stumbles and node.stumbles:
            node.freeze(node.rng.choice(STUMBLE_SECONDS) * self._plan.tick)  # after its last check
        await node.wait(0)
        self._start(event, node)
        seconds = node.rng.random() * self._plan.handler_seconds
        await node.wait(seconds / 2)
        self._refuse(event)
        place = place_of(event)
        self.duplicates += self.handled[place] > 0
        self.handled[place] += 1
        self.repeats.discard(place)
        await node.wait(seconds / 2)

    def is_finished(self, place: Place) -> bool:
        """Return whether the next event of the key may start."""
        return self.handled[place] > 0 or place in self.skipped

    def note(self, what: str, node: Node | None = None) -> None:
        """Note that a promise was broken."""
        now = asyncio.get_running_loop().time()
        self.faults.append(f"{now:.3f}{f' {node.name}' if node else ''}: {what}")

    def _start(self, event: Event, node: Node) -> None:
        place = place_of(event)
        if place in self.skipped:
            return  # a redrive replays an old event after newer ones
        missing = [each for each in self._before[place] if not self.is_finished(each)]
        if missing:
            self.note(f"event {place} of {event.key} overtakes {missing}", node)
        if id(event) in self._own:
            self._start_from_hub(event, node)
        elif not self._cluster.jumped and not self._cluster.losses:
            self._start_from_list(self._hub[place[0]][place[1]], node)

    def _start_from_hub(self, event: Event, node: Node) -> None:
        invocation = INVOCATION.get()
        if invocation is None:
            return
        latest = self._cluster.owner(event.source)
        if latest <= invocation.owner:  # lower: a failover has lost this claim
            return
        key = self.list_of(event)
        invocation.starts[key] += 1
        if invocation.starts[key] > 1:
            number = invocation.starts[key]
            self.note(f"event {place_of(event)}: start {number} of a stale owner", node)

    def _start_from_list(self, event: Event, node: Node) -> None:
        place = place_of(event)
        key = self.list_of(event)
        # Nobody else may have finished the event while the replay has the lease.
        if self.handled[place] and not self._cluster.holds(event, key):
            self.note(f"event {place} of {key} is replayed after it was finished", node)
        behind = [each for each in self._behind[place] if self.handled[each]]
        if behind and not self.rewound:
            self.note(f"event {place} of {key} is replayed after {behind}", node)

    def _refuse(self, event: Event) -> None:
        now = asyncio.get_running_loop().time()
        place = place_of(event)
        if now < self._plan.poison.get(place, 0):
            raise PoisonEventError("bad")
        if now < self._plan.broken.get(place, 0):
            raise RuntimeError("broken")
        if self.healed:
            return
        for outage in self._plan.outages:
            if outage.begin <= now < outage.end and (outage.everything or outage.key == event.key):
                raise DependencyUnavailableError("down")


class ModelPoisonQueue(MemoryPoisonQueue):
    """The real memory queue, which notes which events it has had."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self._sink = sink
        self.had: set[Place] = set()

    async def put(self, message: PoisonMessage) -> None:
        """See `PoisonQueue.put`."""
        await asyncio.sleep(0)
        await super().put(message)
        place = place_of(message)
        self.had.add(place)
        if not message.parked:
            self._sink.skipped.add(place)
