"""The check of `readonly-failover`, `no-replicas` and `muted`.

- After the end of a fault, no instance's health is degraded for longer than MOST_SECONDS, and each
  instance that still runs reports its health within that time.
- After it, no partition with a waiting event stands still for longer than MOST_SECONDS. The time
  of the fault itself does not count, nor the time in which a killed host's partitions find a new
  owner.
- A Redis that refuses writes for longer than NOTICE_SECONDS is named by the health of each
  instance within that time, with Redis's own word.
- From then on, each report says so until the end of the fault, and each instance notes a fault a
  few times at most: an answer to a read does not end the outage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from loadtest.plan.redis_failover import MOST_SECONDS, NOTICE_SECONDS
from loadtest.verify.evidence import Evidence, LedgerEntry
from loadtest.verify.log_check import SILENT_REDIS

TAKEOVER_US = 30_000_000
"""The longest time from a kill until the restarted host has its share of the partitions again.

On a busy machine a host takes 12 s to start, and its first batch 10 s more.
"""
MOST_OUTAGES = 4
"""The most outages that one instance may report in one fault."""


class RedisCheck:
    """The check, which receives the handled events and then returns what is broken."""

    def __init__(self, evidence: Evidence) -> None:
        self._absences = evidence.redis_absences
        self._killed_us = evidence.killed_us
        self._instances = evidence.instances
        self._reports = sum(SILENT_REDIS in line for line in evidence.log)
        self._handled: dict[str, list[tuple[int, int]]] = {}

    def handled(self, entry: LedgerEntry) -> None:
        """Record a handled event."""
        if self._absences:
            times = (entry.appended_us, entry.enqueued_ms * 1000)
            self._handled.setdefault(entry.partition, []).append(times)

    def broken(self) -> list[str]:
        """Return one line for each broken promise."""
        if not self._absences:
            return []
        lines = [*self._degraded(), *self._silent(), *self._unnamed(), *self._mistaken()]
        lines += self._still()
        most = MOST_OUTAGES * self._instances * len(self._absences)
        if self._reports > most:
            lines.append(
                f"the instances reported {self._reports} outages of Redis, expected at most {most} "
                f"in {len(self._absences)} faults"
            )
        return lines

    def _degraded(self) -> Iterator[str]:
        for absence in self._absences:
            for instance, at_us in absence.degraded_us.items():
                seconds = (at_us - absence.ended_us) / 1e6
                if seconds > MOST_SECONDS:
                    yield (
                        f"{absence.kind}: instance {instance} was degraded for more than "
                        f"{seconds:.0f} s after the end, expected at most {MOST_SECONDS:g} s"
                    )

    def _silent(self) -> Iterator[str]:
        for absence in self._absences:
            until_us = absence.ended_us + MOST_SECONDS * 1e6
            for instance, degraded_us in absence.degraded_us.items():
                well_us = absence.well_us.get(instance, ())
                if degraded_us <= absence.ended_us and not any(
                    absence.ended_us < at_us <= until_us for at_us in well_us
                ):
                    yield (
                        f"{absence.kind}: instance {instance} sent no health report within "
                        f"{MOST_SECONDS:g} s after the end"
                    )

    def _unnamed(self) -> Iterator[str]:
        for absence in self._absences:
            if not absence.word or absence.seconds <= NOTICE_SECONDS:
                continue
            for instance in absence.degraded_us:
                named_us = absence.named_us.get(instance)
                seconds = None if named_us is None else (named_us - absence.began_us) / 1e6
                if seconds is None or seconds > NOTICE_SECONDS:
                    when = "never" if seconds is None else f"after {seconds:.1f} s"
                    yield (
                        f"{absence.kind}: the health of instance {instance} named "
                        f"{absence.word} {when}, expected within {NOTICE_SECONDS:g} s"
                    )

    def _mistaken(self) -> Iterator[str]:
        for absence in self._absences:
            since_us = absence.began_us + NOTICE_SECONDS * 1e6
            for instance, well_us in absence.well_us.items():
                count = sum(since_us < at_us < absence.ended_us for at_us in well_us)
                if absence.word and count:
                    yield (
                        f"{absence.kind}: {count} health reports of instance {instance} were not "
                        "degraded while Redis took no writes"
                    )

    def _still(self) -> Iterator[str]:
        """Yield a line for each partition that stood still for too long."""
        excused = [(each.began_us, each.ended_us) for each in self._absences]
        excused += [(at_us, at_us + TAKEOVER_US) for at_us in self._killed_us]
        first_us = min(each.began_us for each in self._absences)
        for partition, handled in sorted(self._handled.items()):
            longest = 0
            for (before_us, _), (at_us, enqueued_us) in pairwise(sorted(handled)):
                since_us = max(before_us, enqueued_us, first_us)
                longest = max(longest, _outside(since_us, at_us, excused))
            if longest > MOST_SECONDS * 1e6:
                yield (
                    f"partition {partition} stood still for {longest / 1e6:.0f} s although events "
                    f"waited and Redis took writes, expected at most {MOST_SECONDS:g} s"
                )


def _outside(since_us: int, until_us: int, spans: Sequence[tuple[int, int]]) -> int:
    """Return the length of an interval without its parts in some spans."""
    left, at_us = 0, since_us
    for began_us, ended_us in sorted(spans):
        left += max(0, min(began_us, until_us) - at_us)
        at_us = max(at_us, ended_us)
    return left + max(0, until_us - at_us)
