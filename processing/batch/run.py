"""The state that the lanes of one invocation share: hold, writes, parking, progress and budgets."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from tenacity import AsyncRetrying, RetryError, retry_if_exception_type, stop_after_delay
from tenacity.wait import wait_random_exponential

from breaker import CircuitBreaker, Permit, StoreUnavailableError
from processing.batch.budget import RefusedShare, TimeInPlace
from processing.batch.deadline import Deadline
from processing.batch.hold import Hold
from processing.batch.parts import LaneParts
from processing.errors import ProcessingError, ShutdownError, StorageUnavailableError
from processing.event import Event
from processing.identity import Source
from processing.parking.batch import BatchParking
from processing.parking.event import ListKey, Position
from processing.parking.store import claim_lost
from processing.progress.group_commit import BatchProgress

logger = logging.getLogger(__name__)

MOST_NAMED = 10
"""Most events that one log line names."""


class Budgets:
    """The budgets of one partition, which outlast its batches.

    Attributes:
        in_place: the time for which the partition waits in place for failing events.
        refused: the share of the partition's events that an open circuit refused.
        waits_for: the name of the dependency that a deferred list waits for; "" if an open circuit
            without a name refused the list's first event.
        let_through: by the dependency's name, the generation and the claim of the latest batch
            whose events joined their lists because the circuit was half-open.
    """

    def __init__(self, defer_after_seconds: float, now: Callable[[], float]) -> None:
        self.in_place = TimeInPlace(defer_after_seconds, now)
        self.refused = RefusedShare(now)
        self.waits_for: dict[ListKey, str] = {}
        self.let_through: dict[str, tuple[int, int]] = {}


class BatchRun:
    """The state that the lanes of one invocation share.

    Args:
        parts: the objects of the processor.
        source: the batch's partition.
        budgets: the partition's budgets.
        owns: returns whether a token is the partition's latest.
        deferred: called with each key that a lane defers; see `Replayer.note_deferred`.

    Attributes:
        loop: the event loop of the lanes.
        now: returns the loop's time.
        dependency_successes: number of successes by dependency, for circuits with a failure ratio.
        lanes_left: number of lanes that have not ended.
        one_lane_left: set when only one lane has not ended.
        alone: bounds the events that the lanes of a handler of lists call alone.
    """

    def __init__(
        self,
        parts: LaneParts,
        source: Source,
        budgets: Budgets,
        *,
        owns: Callable[[Source, int], Awaitable[bool]],
        deferred: Callable[[Source, ListKey, float, str], None] = lambda *_: None,
    ) -> None:
        self.parts = parts
        self.source = source
        self.hold = Hold(parts.settings.hold_seconds, source.partition)
        self.deadline = Deadline(parts.budget, self.hold, self._pass_deadline)
        self.budgets = budgets
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time
        self.dependency_successes: Counter[str] = Counter()
        self.parking: BatchParking | None = None  # None: the partition is not claimed yet
        self.progress: BatchProgress | None = None  # None: the partition is not claimed yet
        self.lanes_left = 0
        self.one_lane_left = asyncio.Event()
        self.alone = asyncio.Semaphore(parts.settings.max_lanes)
        self.note_deferred = deferred
        self._owns = owns
        self._check: asyncio.Future[bool] | None = None
        self._marking: asyncio.Future[None] | None = None

    def begin_lanes(self, count: int) -> None:
        """Note the number of lanes."""
        self.lanes_left = count
        if count == 1:
            self.one_lane_left.set()

    def end_lane(self) -> None:
        """Note that one lane has ended."""
        self.lanes_left -= 1
        if self.lanes_left == 1:
            self.one_lane_left.set()

    @property
    def writing(self) -> bool:
        """Return whether a write that must not be lost is in progress or due."""
        return self.deadline.writing or (self.progress is not None and self.progress.writing)

    async def pause(self, seconds: float) -> None:
        """Pause before a further attempt, until the deadline at the latest.

        Raises:
            ShutdownError: the instance is shutting down, or the invocation's time is used up.
            BaseException: the error that halted the invocation.
        """
        await self.parts.gate.pause(seconds, self.hold)

    async def check_claim(self) -> None:
        """Check that no other instance has claimed the partition; lanes share a check.

        Raises:
            OwnershipLostError: another instance owns the partition now.
            StorageUnavailableError: the store did not answer for `hold_seconds`.
        """
        if self.parking is None:
            return
        if self._check is None:
            owner = self.parking.claim.owner
            self._check = asyncio.ensure_future(self.persist(self._owns, self.source, owner))
            self._check.add_done_callback(self._end_check)
        if not await asyncio.shield(self._check):
            raise claim_lost(self.source)

    @property
    def is_halted(self) -> bool:
        """Return whether the invocation starts no further event."""
        return self.hold.halted is not None

    async def check_after_wait(self) -> None:
        """Check the claim; halt the invocation if it is lost, or if the store does not answer."""
        try:
            await self.check_claim()
        except ProcessingError as error:
            self.hold.halt(error)

    def _end_check(self, check: asyncio.Future[bool]) -> None:
        self._check = None
        if not check.cancelled():
            check.exception()  # the lane that asked may have been cancelled

    async def persist[*Ts, T](self, write: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Call `write` until it succeeds, for at most `hold_seconds`, and not beyond the budget.

        Raises:
            StorageUnavailableError: no call succeeded in that time.
            ShutdownError: the first call failed, and the instance is shutting down.
        """
        with self.deadline.limits_write():
            return await self._retry_write(write, args)

    async def _retry_write[*Ts, T](
        self, write: Callable[[*Ts], Awaitable[T]], args: tuple[*Ts]
    ) -> T:
        try:
            return await write(*args)
        except (StorageUnavailableError, StoreUnavailableError) as error:
            logger.warning(
                "Partition %s: a store failed: %s: %s; the call is retried for up to %g s",
                *(self.source, type(error).__name__, error, self.parts.settings.hold_seconds),
            )
            self.parts.watch.waits(self.source, None, error=error)
        gate = self.parts.gate
        most = max(0.0, min(self.parts.settings.hold_seconds, self.deadline.write_left))
        retrying = AsyncRetrying(
            retry=retry_if_exception_type((StorageUnavailableError, StoreUnavailableError)),
            wait=wait_random_exponential(multiplier=0.1, max=2),
            stop=stop_after_delay(most),
            sleep=gate.pause,
        )

        async def attempt() -> T:  # tenacity awaits only coroutine functions
            return await write(*args)

        try:
            result: T = await retrying(attempt)
        except RetryError as error:
            cause = error.last_attempt.exception()
            raise StorageUnavailableError(
                f"no call of the store succeeded for {most:g} s; the batch "
                f"fails and runs again; last error: {cause}"
            ) from cause
        self.parts.watch.settled(self.source, None)
        return result

    def close(self) -> None:
        """End the run, because the invocation has ended."""
        self.deadline.close()
        # Both refer to the run; the cycles would keep the events until a collection.
        self.progress = self.parking = None

    @property
    def overdue(self) -> frozenset[Position]:
        """The positions of the events that may still run for an earlier invocation."""
        return frozenset() if self.parking is None else self.parking.claim.overdue

    async def mark_overdue(self, *events: Event) -> None:
        """Mark events that the next run must not start; an error is logged only."""
        if self.parking is None or not events:
            return
        logger.warning(
            "Partition %s: the invocation's time is used up, but these events still run: %s; if "
            "they do not end, the next run defers them",
            *(self.source, _named(events)),
        )
        try:
            await self.parking.mark_overdue(events)
        except (StorageUnavailableError, ShutdownError) as error:
            logger.warning("Overdue events could not be marked: %s", error)

    def _pass_deadline(self) -> None:
        running = [event for event in self.parts.handler.running if event.source == self.source]
        # The later events of a key join the list of the deferred key.
        orders = self.parts.settings.keyless_order == "partition"
        first: dict[object, Event] = {}
        for event in running:
            named = event.key is not None or orders
            first.setdefault(event.key if named else event.sequence_number, event)
        if first:
            self._marking = asyncio.ensure_future(self.mark_overdue(*first.values()))

    async def report_successes(self, handled: int) -> None:
        """Record a batch's successes in the circuits, for failure ratios; once per batch."""
        permit = self.parts.gate.permit(self.hold)
        if handled and permit is not None:
            await self._report_successes(self.parts.breaker, handled, permit)
        for name, count in self.dependency_successes.items():
            circuits = self.parts.dependencies
            circuit = None if circuits is None else circuits.find(name)
            if circuit is not None and circuit.circuit.admits:
                permit = Permit(circuit.circuit.generation)
                await self._report_successes(circuit, count, permit)

    async def _report_successes(self, circuit: CircuitBreaker, count: int, permit: Permit) -> None:
        try:
            await circuit.record_successes(count, permit)
        except StoreUnavailableError as error:
            logger.warning(
                "Partition %s: %s successes were not recorded in circuit %s: %s: %s; "
                "they are missing in its failure ratio",
                *(self.source, count, circuit.name, type(error).__name__, error),
            )


def _named(events: Sequence[Event]) -> str:
    """Return the ids of events for a log line, which names ten of them."""
    names = ", ".join(each.id for each in events[:MOST_NAMED])
    return f"{names} and {len(events) - MOST_NAMED} more" if len(events) > MOST_NAMED else names
