"""The verdicts about a batch of a hub that may have been recreated."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from processing.event import Event
from processing.partitions.hub_range import HubRange
from processing.partitions.recreated import HubFacts, Verdict, judge
from processing.progress.store import Mark, Progress
from tests.support.processing.events import event

OLD, NEW = 1_000, 9_000  # the hub was created at OLD; the recreated hub at NEW
WATERMARK = Mark(99, 5_000)


def events(first: int, last: int, enqueued_ms: int) -> list[Event]:
    return [event(each, enqueued_ms=enqueued_ms) for each in range(first, last + 1)]


@dataclass(frozen=True)
class Row:
    """One row of the table: a batch, the progress, and the hub's answer."""

    name: str
    verdict: Verdict
    batch: list[Event]
    created_ms: int
    first: int = 0
    end: int = 200
    stored: int = OLD
    watermark: Mark | None = WATERMARK


ROWS = [
    # The hub is the same.
    Row("next events", Verdict.SAME, events(100, 110, 6_000), OLD),
    Row("a redelivery", Verdict.SAME, events(90, 99, 4_990), OLD),
    Row("a redelivery across the watermark", Verdict.SAME, events(90, 110, 5_000), OLD),
    Row("events behind a gap", Verdict.SAME, events(150, 160, 6_000), OLD, first=150),
    Row("the first batch", Verdict.SAME, events(0, 9, 2_000), OLD, stored=0, watermark=None),
    Row("progress of an older version", Verdict.SAME, events(100, 110, 6_000), OLD, stored=0),
    Row("a watermark at the hub's end", Verdict.SAME, events(90, 99, 4_990), OLD, end=100),
    # The broker's clock stepped back: an event at or below the watermark was enqueued later.
    Row("a step back", Verdict.CLOCK, events(98, 99, 5_001), OLD),
    Row("a step back, and new events", Verdict.CLOCK, events(98, 110, 5_001), OLD),
    Row("a step back, older version", Verdict.CLOCK, events(98, 99, 5_001), OLD, stored=0),
    # The hub was recreated, and the platform delivers its first events.
    Row("the first events", Verdict.RESET, events(0, 9, NEW + 1), NEW),
    Row("the first events, older version", Verdict.RESET, events(0, 9, NEW + 1), NEW, stored=0),
    Row("the first retained events", Verdict.RESET, events(120, 129, NEW + 1), NEW, first=120),
    Row("first events, and a step back", Verdict.RESET, events(0, 9, NEW - 1), NEW),
    Row("no watermark", Verdict.RESET, events(0, 9, NEW + 1), NEW, watermark=None),
    # The hub was recreated, and the platform has skipped its first events.
    Row("grown past the checkpoint", Verdict.RECREATED, events(100, 119, NEW + 1), NEW),
    Row("grown past, older version", Verdict.RECREATED, events(100, 119, NEW + 1), NEW, stored=0),
    Row("below the watermark", Verdict.RECREATED, events(50, 69, NEW + 1), NEW, end=70),
    Row("skipped, no watermark", Verdict.RECREATED, events(50, 69, NEW + 1), NEW, watermark=None),
    # An event that cannot be explained is never skipped and never handled unasked.
    Row("a restored hub", Verdict.RECREATED, events(0, 9, 5_001), 4_000),
    Row("a restored hub, next events", Verdict.RECREATED, events(100, 110, 6_000), 4_000),
    Row("numbers given again", Verdict.RECREATED, events(90, 94, 6_000), OLD, end=95),
    Row("a watermark beyond the end", Verdict.RECREATED, events(90, 94, 4_990), OLD, end=95),
    # The platform delivered the batch before the hub was deleted, and repeats it.
    Row("old events", Verdict.OLD, events(100, 110, 6_000), NEW, end=0),
    Row("old events, redelivered", Verdict.OLD, events(90, 110, 5_000), NEW, end=0),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_verdict(row: Row) -> None:
    """Each row says what the numbers of a batch mean."""
    progress = Progress(row.watermark, created_ms=row.stored)
    facts = HubFacts(row.created_ms, HubRange(row.first, row.end))
    assert judge(progress, row.batch, facts) is row.verdict
