"""The hub's ends: compares a batch with its partition's progress, and with the hub where needed.

A healthy batch begins right after the watermark. The check of such a batch compares its
enqueued times, and waits for nothing. A batch waits for an answer of the hub

- at the first batch of an instance, and at the first batch of a partition without progress,
- at an event that the progress does not explain, and at a gap,
- after a pause of more than `PAUSE_SECONDS` between the enqueued times of a partition's events,
  unless the hub was asked within that time,
- if the hub was last asked more than `IDLE_SECONDS` ago.

In addition, a batch asks in the background if the hub was last asked more than `FRESH_SECONDS` ago.
The last two waits and the background requests only notice a recreated hub early. If such a request
fails or times out, the batch continues with the known time of creation.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from processing.errors import RecreatedHubError, StorageUnavailableError
from processing.event import Event
from processing.identity import Source
from processing.partitions.gaps import GapStore
from processing.partitions.hub_answers import FRESH_SECONDS, HubAnswers
from processing.partitions.recreated import HubFacts, Verdict, is_odd, judge
from processing.progress.store import Mark, Progress, ProgressStore

if TYPE_CHECKING:  # loads the SDK of storage
    from processing.partitions.checkpoints import Checkpoint

logger = logging.getLogger(__name__)

IDLE_SECONDS = 30.0
"""Greatest age of the known time of creation; if it is older, a batch waits for a new answer."""
PAUSE_SECONDS = 5.0
"""Shortest pause between two enqueued times in which the hub may have been recreated.

It takes longer to delete a hub, to create it again and to send as many events as before. The first
batch after such a pause waits for an answer of the hub that is no older than this."""
PAUSE_ANSWER_SECONDS = 1.0
"""Time for which the first batch after such a pause waits for the answer, and then continues."""
STEP_MS = 1000
"""Least step back of the broker's clock that is reported; a failover moves the clock a little."""
UNEXPLAINED_SECONDS = 15.0
"""Time after a gap without expired events in which no further gap is examined.

Most batches of a compacted hub begin after a gap."""


class HubEnds:
    """The checks of an instance's batches against the hub's ends.

    Args:
        answers: the answers of the hub.
        progress: stores the time of creation, and is reset after a recreation.
        gaps: records gaps.
        checkpoint: reads the host's checkpoint of a partition.
        expired: called with a partition and the number of its events that have expired, by the
            instance that has recorded the gap.
        pause_answer_seconds: time for which a batch after a pause waits for an answer of the hub.
        clock: returns seconds that never decrease.
    """

    def __init__(
        self,
        answers: HubAnswers,
        *,
        progress: ProgressStore,
        gaps: GapStore,
        checkpoint: Callable[[str], Awaitable[Checkpoint | None]],
        expired: Callable[[Source, int], None] = lambda _source, _count: None,
        pause_answer_seconds: float = PAUSE_ANSWER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._answers = answers
        self._progress = progress
        self._gaps = gaps
        self._checkpoint = checkpoint
        self._expired = expired
        self._pause_answer_seconds = pause_answer_seconds
        self._clock = clock
        # The place of the last checked batch of each partition: a batch can run again and again.
        self._checked: dict[Source, tuple[int, Mark | None]] = {}
        self._unexplained: dict[Source, float] = {}

    def accepts(self, source: Source, progress: Progress, events: Sequence[Event]) -> bool:
        """Return whether a batch needs no check; waits for nothing, but may ask in the background.

        Args:
            source: the batch's partition.
            progress: the progress of the partition.
            events: the events of the batch by sequence number.
        """
        if not events:
            return True
        age = self._answers.age
        created_ms = self._answers.created_ms
        if age > IDLE_SECONDS or not created_ms or progress.created_ms != created_ms:
            return False
        if age > FRESH_SECONDS:
            self._answers.refresh()
        first, watermark = events[0].sequence_number, progress.watermark
        if _follows_a_pause(watermark, events) and self._answers.lacks(PAUSE_SECONDS):
            return False
        if watermark is not None and first == watermark.sequence_number + 1:
            times = [each.enqueued_ms for each in events]  # a sort is faster than `_step_back`
            if times[0] >= watermark.enqueued_ms and times == sorted(times):
                return True
            if _step_back(watermark, events)[0] < STEP_MS:
                return True
        return self._checked.get(source) == (first, watermark)

    async def settle(self, source: Source, progress: Progress, events: Sequence[Event]) -> bool:
        """Check a batch, record a gap before the batch, and reset the progress of a deleted hub.

        Args:
            source: the batch's partition.
            progress: the progress of the partition.
            events: the events of the batch by sequence number, at least one.

        Returns:
            Whether the progress was reset; then the partition must be claimed again.

        Raises:
            RecreatedHubError: the platform may have skipped events of a recreated hub.
            StorageUnavailableError: the hub, Redis or the checkpoint's container did not answer.
        """
        first, watermark = events[0].sequence_number, progress.watermark
        is_new = watermark is None and not progress.created_ms
        if is_new:  # a time that was read before the delivery could be a deleted hub's
            created_ms = await self._answers.created_now()
        else:
            await self._refresh(paused=_follows_a_pause(watermark, events))
            created_ms = self._answers.created_ms
        base = None if watermark is None else watermark.sequence_number
        examines = self._clock() >= self._unexplained.get(source, 0.0)
        checkpoint = None
        if base is None or (first > base + 1 and examines):
            checkpoint = await self._read_checkpoint(source)
            if checkpoint is not None and not checkpoint.is_older_than(created_ms):
                base = max(checkpoint.sequence_number, -1 if base is None else base)
        gap = base is not None and first > base + 1 and examines
        odd = any(is_odd(progress, event) for event in events)
        if gap or odd or progress.created_ms != created_ms:
            if is_new and checkpoint is None:
                await self._progress.note_created(source, created_ms)
            else:
                hub = await self._answers.facts(source.partition)
                verdict = self._verdict(source, progress, events, hub, checkpoint)
                if verdict is Verdict.RESET:
                    await self._progress.reset(source, hub.created_ms)
                    return True
                if verdict is not Verdict.OLD:
                    if not progress.created_ms:
                        await self._progress.note_created(source, hub.created_ms)
                    if gap and base is not None:
                        await self._record(source, progress, hub, base + 1, first)
        step, behind = _step_back(watermark, events)
        if step >= STEP_MS:
            await self._progress.note_step(source, step, behind)
            logger.warning(
                "Partition %s: event %s was enqueued %.1f s earlier than the event before it; the "
                "broker's clock stepped back, and no event is lost",
                *(source, behind, step / 1000),
            )
        self._checked[source] = (first, watermark)
        return False

    async def _refresh(self, *, paused: bool) -> None:
        """Ask for the time of creation if it is unknown, or was asked too long ago."""
        seconds = math.inf
        if self._answers.created_ms:
            if self._answers.overdue:  # an earlier batch has waited for this request long enough
                return
            if self._answers.age <= IDLE_SECONDS:
                if not (paused and self._answers.lacks(PAUSE_SECONDS)):
                    return
                seconds = self._pause_answer_seconds
        try:
            await self._answers.created(seconds=seconds)
        except StorageUnavailableError as error:
            if not self._answers.created_ms:
                raise
            logger.debug("The hub's time of creation is asked again later: %s", error)

    async def _read_checkpoint(self, source: Source) -> Checkpoint | None:
        try:
            return await self._checkpoint(source.partition)
        except ValueError as error:  # the platform cannot read this checkpoint either
            logger.warning("Partition %s: %s", source, error)
            return None

    def _verdict(
        self,
        source: Source,
        progress: Progress,
        events: Sequence[Event],
        hub: HubFacts,
        checkpoint: Checkpoint | None,
    ) -> Verdict:
        """Return the verdict about a batch, and log what an operator must know.

        Raises:
            RecreatedHubError: the verdict is `RECREATED`.
        """
        verdict, first = judge(progress, events, hub), events[0].sequence_number
        if (
            verdict is Verdict.SAME
            and checkpoint is not None
            and checkpoint.is_older_than(hub.created_ms)
            and not progress.created_ms
            and progress.watermark is None
            and first > hub.kept.first
        ):
            verdict = Verdict.RECREATED  # Redis has lost the progress, too
        match verdict:
            case Verdict.RECREATED:
                raise RecreatedHubError(_recreated(source, progress, first, hub))
            case Verdict.RESET:
                logger.warning(
                    "Partition %s: the hub was recreated at %s; the earlier hub's progress up to "
                    "%s is deleted, and the batch begins with the hub's first event",
                    *(source, _time(hub.created_ms), _place(progress.watermark)),
                )
            case Verdict.CLOCK:
                logger.warning(
                    "Partition %s: a delivered event has a later enqueued time than the watermark, "
                    "%s, but no higher sequence number. The hub is the same: the broker's clock "
                    "stepped back, and the event is finished",
                    *(source, _place(progress.watermark)),
                )
        return verdict

    async def _record(
        self, source: Source, progress: Progress, hub: HubFacts, first: int, delivered: int
    ) -> None:
        """Record the events that have expired between the base and the delivered event."""
        last = min(hub.kept.first, delivered) - 1
        if last < first:  # numbers are missing inside the hub, as in a compacted hub
            self._unexplained[source] = self._clock() + UNEXPLAINED_SECONDS
            return
        gap = await self._gaps.record(
            source, first, last, created_ms=hub.created_ms, handled=progress.finished
        )
        if gap is not None:
            logger.error(
                "Partition %s: %s events between %s and %s expired before they were handled; the "
                "hub's first event is %s. The events are lost; raise the hub's retention or the "
                "app's throughput",
                *(source, gap.events, gap.first, gap.last, hub.kept.first),
            )
            self._expired(source, gap.events)


def _follows_a_pause(watermark: Mark | None, events: Sequence[Event]) -> bool:
    """Return whether the first event was enqueued `PAUSE_SECONDS` or more after the watermark."""
    return watermark is not None and (
        events[0].enqueued_ms - watermark.enqueued_ms > PAUSE_SECONDS * 1000
    )


def _step_back(watermark: Mark | None, events: Sequence[Event]) -> tuple[int, int]:
    """Return the largest step back of the enqueued times, in milliseconds, and its event."""
    largest, behind = 0, 0
    before = 0 if watermark is None else watermark.enqueued_ms
    for each in events:
        if watermark is None or each.sequence_number > watermark.sequence_number:
            if before - each.enqueued_ms > largest:
                largest, behind = before - each.enqueued_ms, each.sequence_number
            before = each.enqueued_ms
    return largest, behind


def _time(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _recreated(source: Source, progress: Progress, first: int, hub: HubFacts) -> str:
    kept = hub.kept
    skipped = f", so events {kept.first} to {first - 1} are skipped" if first > kept.first else ""
    return (
        f"partition {source}: the hub was created at {_time(hub.created_ms)} and has the events "
        f"{kept.first} to {kept.end - 1}, but the progress up to {_place(progress.watermark)} "
        f"belongs to another hub. The platform delivers from event {first} on{skipped}. Run "
        f"`breakwater rewind --partition {source.partition} --to-start --restart`, which "
        "stops and starts the app"
    )


def _place(watermark: Mark | None) -> str:
    if watermark is None:
        return "no event"
    return f"event {watermark.sequence_number} (enqueued at {_time(watermark.enqueued_ms)})"
