"""Throughput and latency, from the times in the ledger."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loadtest.verify.evidence import LedgerEntry

BIN_US = 250_000


@dataclass(frozen=True, slots=True)
class Metrics:
    """The throughput and latency of one run.

    Attributes:
        handled_by_bin: bin of 250 ms of Redis time → events handled in the bin.
        process_seconds: from the first handled event to the last, pauses included.
        events_per_second: handled events divided by `process_seconds`.
        peak_events_per_second: the most events in four successive bins.
        latency_p50_ms: the median time from the event hub's enqueued time to the ledger entry.
        latency_p99_ms: the 99th percentile of the same time.
    """

    handled_by_bin: dict[int, int]
    process_seconds: float
    events_per_second: float
    peak_events_per_second: float
    latency_p50_ms: float | None
    latency_p99_ms: float | None


def measure(ledgers: Iterable[tuple[str, Sequence[LedgerEntry]]]) -> Metrics:
    """Return the metrics; each ledger is read once."""
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
    """Return the nearest-rank percentile of sorted values; None without values."""
    if not ordered:
        return None
    rank = -(-percent * len(ordered) // 100)
    return ordered[max(rank, 1) - 1]
