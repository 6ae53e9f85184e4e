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

from loadtest.settings import Scenario, Settings

SEED_FAULT_EVERY = 100
"""In the `seed` scenario every 100th message of each key fails for good, as in the original."""


class Fault(StrEnum):
    """Value of the application property `simulate`."""

    POISON = "poison"
    ERROR = "error"


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
    """All events of a run: `keys` keys, each with counters 1 to n, `events` in all."""

    scenario: Scenario
    events: int
    keys: int
    poison_every: int
    seed: int

    @classmethod
    def from_settings(cls, settings: Settings) -> Workload:
        """The workload that these settings describe."""
        return cls(
            settings.scenario, settings.events, settings.keys, settings.poison_every, settings.seed
        )

    @cached_property
    def key_names(self) -> tuple[str, ...]:
        """Partition keys by key index."""
        width = len(str(self.keys - 1))
        return tuple(f"key-{index:0{width}d}" for index in range(self.keys))

    def count(self, key_index: int) -> int:
        """How many events a key has; the remainder goes to the first keys."""
        each, remainder = divmod(self.events, self.keys)
        return each + (key_index < remainder)

    def fault(self, key_index: int, counter: int) -> Fault | None:
        """What the event simulates, if anything."""
        if self.scenario is Scenario.SEED:
            return Fault.ERROR if counter % SEED_FAULT_EVERY == 0 else None
        if self.scenario is Scenario.OUTAGE:
            ordinal = (counter - 1) * self.keys + key_index
            return Fault.POISON if ordinal in self._poison_ordinals else None
        return None

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

    def _drawn(self, block: int) -> int:
        digest = hashlib.blake2b(f"{self.seed}/{block}".encode(), digest_size=8).digest()
        return int.from_bytes(digest)

    def batches(self, size: int) -> Iterator[Batch]:
        """The order of sending: rounds over the keys, `size` events of one key at a time."""
        for start in range(1, self.count(0) + 1, size):
            for index in range(self.keys):
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
    """What has to happen besides the delivery contract, for the run to have tested anything."""

    least_openings: int
    most_openings: int | None
    """None: as many as the failures cause."""

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
