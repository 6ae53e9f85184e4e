"""Speed: throughput and latency, from the times in the ledger."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loadtest.verify.evidence import LedgerEntry

BIN_US = 250_000


@dataclass(frozen=True, slots=True)
class Metrics:
    """Figures of one run.

    Attributes:
        handled_by_bin: Redis time in bins of 250 ms → events handled in it.
        process_seconds: from the first handled event to the last, pauses included.
        events_per_second: handled events by `process_seconds`.
        peak_events_per_second: the best second, of those that begin with a bin.
        latency_p50_ms: from the event hub's enqueued time to the ledger; half of the events.
        latency_p99_ms: the same for 99 of 100.
    """

    handled_by_bin: dict[int, int]
    process_seconds: float
    events_per_second: float
    peak_events_per_second: float
    latency_p50_ms: float | None
    latency_p99_ms: float | None


def measure(ledgers: Iterable[tuple[str, Sequence[LedgerEntry]]]) -> Metrics:
    """Read each ledger once."""
    bins: defaultdict[int, int] = defaultdict(int)
    latencies = array("d")
    first_us: int | None = None
    last_us = 0
    for _, entries in ledgers:
        for entry in entries:
            at_us = entry.appended_us
            bins[at_us // BIN_US] += 1
            latencies.append(at_us / 1000 - entry.enqueued_ms)
            first_us = at_us if first_us is None else min(first_us, at_us)
            last_us = max(last_us, at_us)

    def bins_of_second(start: int) -> int:
        return sum(bins.get(bin_, 0) for bin_ in range(start, start + 1_000_000 // BIN_US))

    process_seconds = 0.0 if first_us is None else (last_us - first_us) / 1e6
    ordered = sorted(latencies)
    return Metrics(
        handled_by_bin=dict(sorted(bins.items())),
        process_seconds=process_seconds,
        events_per_second=len(latencies) / process_seconds if process_seconds else 0.0,
        peak_events_per_second=float(max(map(bins_of_second, bins), default=0)),
        latency_p50_ms=percentile(ordered, 50),
        latency_p99_ms=percentile(ordered, 99),
    )


def percentile(ordered: Sequence[float], percent: int) -> float | None:
    """The nearest-rank percentile of sorted values; None if there are none."""
    if not ordered:
        return None
    rank = -(-percent * len(ordered) // 100)
    return ordered[max(rank, 1) - 1]
