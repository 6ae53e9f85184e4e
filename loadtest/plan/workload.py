"""Which events are sent, in which order, and which of them are faulty: a pure function of settings.

Producer and verifier compute the same workload in different processes, so neither has to trust
the other's account of what should be there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from loadtest.plan.settings import Scenario, Settings

SEED_FAULT_EVERY = 100
"""In the `seed` scenario every 100th message of each key fails for good, as in the original."""


SLOW_MS = (5, 60)
"""Least and most milliseconds that a slow event's handler takes."""

HANG_MS = 15_000
"""How long a hanging handler says nothing, if nobody cuts it off."""


class Fault(StrEnum):
    """Value of the application property `simulate` for events that are to fail."""

    POISON = "poison"
    ERROR = "error"


class Delay(StrEnum):
    """Value of `simulate` for events that take long, `milliseconds` of them, and then succeed."""

    SLOW = "slow"
    HANG = "hang"
    """Only the first time: what hung once succeeds when it is tried again."""


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
    """All events of a run: `keys` keys, each with counters 1 to n, `events` in all.

    Attributes:
        poison_every, slow_every, hang_every: one event in so many, 0 for none.
        hot_key: whether the first key has half of all events.
    """

    scenario: Scenario
    events: int
    keys: int
    poison_every: int
    seed: int
    hot_key: bool = False
    slow_every: int = 0
    hang_every: int = 0

    @classmethod
    def from_settings(cls, settings: Settings) -> Workload:
        """The workload that these settings describe."""
        # Another scenario's workload stays its own: the plan of faults is done to its stack alone.
        plan = settings.chaos if settings.scenario is Scenario.CHAOS else None
        return cls(
            settings.scenario,
            settings.events,
            settings.keys,
            settings.poison_every if plan is None else plan.poison_every,
            settings.seed,
            hot_key=plan is not None and plan.hot_key,
            slow_every=0 if plan is None else plan.slow_every,
            hang_every=0 if plan is None else plan.hang_every,
        )

    @cached_property
    def key_names(self) -> tuple[str, ...]:
        """Partition keys by key index."""
        width = len(str(self.keys - 1))
        return tuple(f"key-{index:0{width}d}" for index in range(self.keys))

    def count(self, key_index: int) -> int:
        """How many events a key has; the remainder goes to the first keys."""
        if self.hot_key and self.keys > 1:
            if key_index == 0:
                return self.events // 2
            each, remainder = divmod(self.events - self.events // 2, self.keys - 1)
            return each + (key_index - 1 < remainder)
        each, remainder = divmod(self.events, self.keys)
        return each + (key_index < remainder)

    def fault(self, key_index: int, counter: int) -> Fault | None:
        """How the event is to fail, if at all."""
        if self.scenario is Scenario.SEED:
            return Fault.ERROR if counter % SEED_FAULT_EVERY == 0 else None
        if self.scenario is Scenario.OUTAGE:
            ordinal = (counter - 1) * self.keys + key_index
            return Fault.POISON if ordinal in self._poison_ordinals else None
        if self.scenario is Scenario.CHAOS:
            place = f"{key_index}/{counter}"
            if self._hit("poison", self.poison_every, place):
                return Fault.ERROR if self._drawn(f"kind/{place}") % 2 else Fault.POISON
        return None

    def delay(self, key_index: int, counter: int) -> tuple[Delay, int] | None:
        """How the event's handler takes long, and how many milliseconds; None: it does not."""
        place = f"{key_index}/{counter}"
        if self._hit("hang", self.hang_every, place):
            return Delay.HANG, HANG_MS
        if self._hit("slow", self.slow_every, place):
            least, most = SLOW_MS
            return Delay.SLOW, least + self._drawn(f"slow ms/{place}") % (most - least + 1)
        return None

    @cached_property
    def hanging(self) -> frozenset[tuple[str, int]]:
        """Key and counter of each event whose handler hangs the first time."""
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
        """Every faulty event: key → counter → what it simulates."""
        found: dict[str, dict[int, Fault]] = {}
        for index, key in enumerate(self.key_names):
            for counter in range(1, self.count(index) + 1):
                if fault := self.fault(index, counter):
                    found.setdefault(key, {})[counter] = fault
        return found

    @cached_property
    def _poison_ordinals(self) -> frozenset[int]:
        """One event of each full block of `poison_every`, at a place drawn from the seed.

        Drawn, because a fixed place would hit the same key each time when `poison_every` is a
        multiple of `keys`.
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
        """The order of sending: rounds over the keys, `size` events of one key at a time.

        A hot key has as many sent before each turn of another key.
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
        """How many events of each key the first `acknowledged` events in sending order are."""
        counts = dict.fromkeys(self.key_names, 0)
        for batch in self.batches(size):
            taken = min(len(batch), acknowledged)
            if taken == 0:
                break
            counts[self.key_names[batch.key_index]] += taken
            acknowledged -= taken
        return counts


@dataclass(frozen=True)
class Expectation:
    """What has to happen besides the delivery contract, for the run to have tested anything.

    Attributes:
        most_openings: None for as many as the failures cause.
        most_suppressed: how many events may have reached the ledger again after they had been
            handled; None: no limit is known.
        poison_repeats: whether an event may be in the poison queue twice.
    """

    least_openings: int
    most_openings: int | None
    most_suppressed: int | None = None
    poison_repeats: bool = False

    @classmethod
    def of(cls, workload: Workload, failure_threshold: int) -> Expectation:
        """What the scenario should bring about.

        An outage opens the circuit once. The `seed` scenario opens it at least once if it has
        enough failing events; each closing empties the window, so it may open again.
        """
        if workload.scenario is Scenario.OUTAGE:
            return cls(1, 1)
        if workload.scenario is Scenario.SEED:
            failing = sum(len(counters) for counters in workload.faults.values())
            return cls(1 if failing >= failure_threshold else 0, None)
        return cls(0, 0)
