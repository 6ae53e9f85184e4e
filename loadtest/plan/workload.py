"""The workload, which is the events of a run, their order and their faults.

The workload is a pure function of the settings. Producer and verifier compute it in separate
processes, so that the verifier does not depend on the producer's account.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from loadtest.plan.marks import BLOCK_MS, HANG_MS, SLOW_MS, Delay, Fault
from loadtest.plan.second_act import AWAY, NEEDS_AFTER_PERCENT, NEEDS_EVERY
from loadtest.plan.settings import WITH_REPLICA, Scenario, Settings

SEED_FAULT_EVERY = 100
"""In the `seed` scenario every 100th event of each key fails permanently, as in the original."""

PARTIAL_POISON_EVERY = 10
"""In `partial-outage` and `two-pipelines` about every 10th key has one poison event.

So it is in `lists` if a poison event parks its key, so that few events are parked.
"""
PARTIAL_POISON_PERCENT = (35, 70)
"""The place of that event among the events of its key: most of these arrive in the outage."""

MARKED_PERCENT = (20, 40)
"""The place of a deadly or blocking event among the events of its key."""

_WITH_PLANNED_EVENTS = WITH_REPLICA | {
    Scenario.CHAOS,
    Scenario.CRASH_LOOP,
    Scenario.BLOCKED_LOOP,
    Scenario.LISTS,
}
"""The scenarios whose plan also has slow, hanging and poison events."""


_WITH_ONE_POISON_EVENT = frozenset({Scenario.PARTIAL_OUTAGE, Scenario.TWO_PIPELINES})
"""The scenarios in which some keys have one poison event."""


@dataclass(frozen=True)
class Batch:
    """Consecutive events of one key: counters `first` to `last`, both included."""

    key_index: int
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True)
class Workload:
    """All events of a run, which have `keys` keys, and counters from 1 for each key.

    Attributes:
        poison_every, slow_every, hang_every: one such event in this many, 0 for none.
        hot_key: whether the first key has half of all events.
        down: the indices of the keys whose dependency is away, in a partial outage.
        dependencies: the names of the dependencies that the keys need in turn; empty for none.
        needs_every: one key in this many needs a dependency.
        needs_after_percent: the share of a key's events that need nothing, before the others.
        away: the dependency that is away for a while; "" for none.
        deadly: the fault of the one event that ends its process; None without such an event.
        blocks: the number of events whose handler blocks the event loop.
        parks: whether a poison event parks its key, so that its later events are not handled.
        same_size: whether the bodies of all events have the same size.
        cured: whether all poison events have been replayed, so that none is left.
    """

    scenario: Scenario
    events: int
    keys: int
    poison_every: int
    seed: int
    hot_key: bool = False
    slow_every: int = 0
    hang_every: int = 0
    down: tuple[int, ...] = ()
    dependencies: tuple[str, ...] = ()
    needs_every: int = 1
    needs_after_percent: int = 0
    away: str = ""
    deadly: Fault | None = None
    blocks: int = 0
    parks: bool = False
    same_size: bool = False
    cured: bool = False

    @classmethod
    def from_settings(cls, settings: Settings) -> Workload:
        """Return the workload that the settings describe."""
        # Another scenario keeps its own workload, and the plan only injects its faults.
        plan = settings.chaos if settings.scenario in _WITH_PLANNED_EVENTS else None
        if settings.second_act:
            return cls(
                settings.scenario,
                settings.events,
                settings.keys,
                settings.poison_every,
                settings.seed,
                dependencies=(AWAY,),
                needs_every=NEEDS_EVERY,
                needs_after_percent=NEEDS_AFTER_PERCENT,
                away=AWAY,
            )
        return cls(
            settings.scenario,
            settings.events,
            settings.keys,
            settings.poison_every if plan is None else plan.poison_every,
            settings.seed,
            hot_key=plan is not None and plan.hot_key,
            slow_every=0 if plan is None else plan.slow_every,
            hang_every=0 if plan is None else plan.hang_every,
            down=() if settings.chaos is None else settings.chaos.down,
            dependencies=() if settings.chaos is None else settings.chaos.dependencies,
            away="" if settings.chaos is None else settings.chaos.away,
            deadly=_deadly(settings),
            blocks=0 if settings.chaos is None else settings.chaos.blocks,
            parks=settings.chaos is not None and settings.chaos.parks,
            same_size=settings.chaos is not None and settings.chaos.same_size,
        )

    @cached_property
    def key_names(self) -> tuple[str, ...]:
        """The partition keys, by key index."""
        width = len(str(self.keys - 1))
        return tuple(f"key-{index:0{width}d}" for index in range(self.keys))

    def count(self, key_index: int) -> int:
        """Return the number of a key's events; the first keys take the remainder."""
        if self.hot_key and self.keys > 1:
            if key_index == 0:
                return self.events // 2
            each, remainder = divmod(self.events - self.events // 2, self.keys - 1)
            return each + (key_index - 1 < remainder)
        each, remainder = divmod(self.events, self.keys)
        return each + (key_index < remainder)

    def needs(self, key_index: int, counter: int) -> str:
        """Return the name of the dependency that an event needs; "" for none."""
        names = self.dependencies
        if not names or key_index % self.needs_every:
            return ""
        if counter * 100 <= self.count(key_index) * self.needs_after_percent:
            return ""
        return names[key_index // self.needs_every % len(names)]

    def fault(self, key_index: int, counter: int) -> Fault | None:
        """Return the event's fault, or None."""
        if self.cured:
            return None
        if (key_index, counter) == self._deadly_place:
            return self.deadly
        if self.scenario is Scenario.SEED:
            return Fault.ERROR if counter % SEED_FAULT_EVERY == 0 else None
        if self.scenario is Scenario.OUTAGE:
            ordinal = (counter - 1) * self.keys + key_index
            return Fault.POISON if ordinal in self._poison_ordinals else None
        if self._has_one_poison_event:
            return Fault.POISON if counter == self._poisoned_at(key_index) else None
        if self.scenario in _WITH_PLANNED_EVENTS:
            place = f"{key_index}/{counter}"
            if self._hit("poison", self.poison_every, place):
                return Fault.ERROR if self._drawn(f"kind/{place}") % 2 else Fault.POISON
        return None

    def _poisoned_at(self, key_index: int) -> int | None:
        """Return the counter of a key's only poison event, or None.

        The first key whose dependency is away has a poison event, which its replay meets. Without
        such keys the first key of all has one.
        """
        is_chosen = self._drawn(f"poisoned/{key_index}") % PARTIAL_POISON_EVERY == 0
        if not is_chosen and key_index not in (self.down or (0,))[:1]:
            return None
        least, most = (self.count(key_index) * share // 100 for share in PARTIAL_POISON_PERCENT)
        return 1 + least + self._drawn(f"poisoned at/{key_index}") % max(1, most - least)

    @property
    def _has_one_poison_event(self) -> bool:
        """Return whether some keys have one poison event each, and no others."""
        parks_lists = self.scenario is Scenario.LISTS and self.parks
        return parks_lists or self.scenario in _WITH_ONE_POISON_EVENT

    @cached_property
    def _deadly_place(self) -> tuple[int, int] | None:
        """The key's index and the counter of the event that ends its process."""
        return self._marked("deadly") if self.deadly is not None else None

    @cached_property
    def _blocking_places(self) -> frozenset[tuple[int, int]]:
        return frozenset(self._marked(f"block/{number}") for number in range(self.blocks))

    def _marked(self, what: str) -> tuple[int, int]:
        """Return the place of an event, early enough that many events follow."""
        key_index = self._drawn(f"{what} key") % self.keys
        least, most = (self.count(key_index) * share // 100 for share in MARKED_PERCENT)
        return key_index, 1 + least + self._drawn(f"{what} counter") % max(1, most - least)

    @cached_property
    def blocking(self) -> frozenset[tuple[str, int]]:
        """The key and counter of each event that blocks the event loop."""
        names = self.key_names
        places = self._blocking_places - {self._deadly_place}
        return frozenset((names[index], counter) for index, counter in places)

    @cached_property
    def waiting(self) -> frozenset[tuple[str, int]]:
        """The key and counter of each event that waits in a parked list at the end of the run."""
        if not self.parks:
            return frozenset()
        counts = {key: self.count(index) for index, key in enumerate(self.key_names)}
        return frozenset(
            (key, counter)
            for key, faults in self.faults.items()
            for counter in range(min(faults) + 1, counts[key] + 1)
        )

    def delay(self, key_index: int, counter: int) -> tuple[Delay, int] | None:
        """Return the event's delay and its milliseconds, or None."""
        place = f"{key_index}/{counter}"
        if (key_index, counter) in self._blocking_places:
            least, most = BLOCK_MS
            return Delay.BLOCK, least + self._drawn(f"block ms/{place}") % (most - least + 1)
        if self._hit("hang", self.hang_every, place):
            return Delay.HANG, HANG_MS
        if self._hit("slow", self.slow_every, place):
            least, most = SLOW_MS
            return Delay.SLOW, least + self._drawn(f"slow ms/{place}") % (most - least + 1)
        return None

    @cached_property
    def hanging(self) -> frozenset[tuple[str, int]]:
        """The key and counter of each event whose first attempt hangs."""
        if not self.hang_every:
            return frozenset()
        return frozenset(
            (key, counter)
            for index, key in enumerate(self.key_names)
            for counter in range(1, self.count(index) + 1)
            if self._hit("hang", self.hang_every, f"{index}/{counter}")
        )

    def _hit(self, what: str, every: int, place: str) -> bool:
        return every > 0 and self._drawn(f"{what}/{place}") % every == 0

    @cached_property
    def faults(self) -> dict[str, dict[int, Fault]]:
        """Every faulty event, as key → counter → fault."""
        found: dict[str, dict[int, Fault]] = {}
        for index, key in enumerate(self.key_names):
            for counter in range(1, self.count(index) + 1):
                if fault := self.fault(index, counter):
                    found.setdefault(key, {})[counter] = fault
        return found

    @cached_property
    def _poison_ordinals(self) -> frozenset[int]:
        """One random event of each full block of `poison_every` events.

        A fixed place in the block would hit the same key each time if `poison_every` is a multiple
        of `keys`.
        """
        if self.poison_every == 0:
            return frozenset()
        return frozenset(
            block * self.poison_every + self._drawn(block) % self.poison_every
            for block in range(self.events // self.poison_every)
        )

    def _drawn(self, what: int | str) -> int:
        digest = hashlib.blake2b(f"{self.seed}/{what}".encode(), digest_size=8).digest()
        return int.from_bytes(digest)

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield the batches in sending order, in rounds over the keys with `size` events per key.

        Before each batch of another key, a hot key has a batch of the same size.
        """
        if not self.hot_key or self.keys == 1:
            yield from self._rounds(range(self.keys), size)
            return
        hot, hot_sent = self.count(0), 0
        for batch in self._rounds(range(1, self.keys), size):
            if count := min(len(batch), hot - hot_sent):
                yield Batch(0, hot_sent + 1, hot_sent + count)
                hot_sent += count
            yield batch

    def _rounds(self, indices: range, size: int) -> Iterator[Batch]:
        for start in range(1, self.count(indices[0]) + 1, size):
            for index in indices:
                last = min(start + size - 1, self.count(index))
                if last >= start:
                    yield Batch(index, start, last)

    def sent_counts(self, size: int, acknowledged: int) -> dict[str, int]:
        """Return the number of events per key among the first `acknowledged` events sent."""
        counts = dict.fromkeys(self.key_names, 0)
        for batch in self.batches(size):
            taken = min(len(batch), acknowledged)
            if taken == 0:
                break
            counts[self.key_names[batch.key_index]] += taken
            acknowledged -= taken
        return counts


def _deadly(settings: Settings) -> Fault | None:
    deadly = "" if settings.chaos is None else settings.chaos.deadly
    return Fault(deadly) if deadly else None
