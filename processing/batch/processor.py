"""The batch processor: handles the events of a batch in lanes and accounts for every event."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from operator import attrgetter

from breaker import CircuitBreaker, CircuitState
from processing.batch.copies import BatchCopies
from processing.batch.hub_ends import HubEnds
from processing.batch.lane import Lane
from processing.batch.list_lane import ListLane
from processing.batch.lists import ListCalls
from processing.batch.parts import LaneParts
from processing.batch.result import BatchResult
from processing.batch.run import BatchRun, Budgets
from processing.batch.split import split_into_lanes
from processing.batch.time_budget import TimeBudget
from processing.batch.workers import run_lanes
from processing.crashes.loops import CrashLoops
from processing.deferring.replayer import Replayer
from processing.dependencies.circuits import Circuits
from processing.errors import OutOfTimeError, OwnershipLostError, ProcessingError
from processing.event import Event, EventBatch
from processing.handlers.loading import LoadedHandler
from processing.identity import Source
from processing.monitoring.stall import Watch
from processing.monitoring.telemetry import Telemetry
from processing.parking.batch import BatchParking, Parking
from processing.parking.event import ListKey, Lone, position_of
from processing.parking.store import Claim
from processing.poison.queue import PoisonQueue
from processing.progress.group_commit import BatchProgress
from processing.progress.store import ProgressStore
from processing.settings import ProcessingSettings

logger = logging.getLogger(__name__)


class BatchProcessor:
    """A processor of batches, for any number of partitions at the same time.

    `process` returns only when every event of the batch is handled, or durably poisoned, parked or
    deferred.
    When `process` raises, the trigger's retry policy must run the batch again; finished events are
    skipped then.

    `prepare` is called before the first batch, and again until a call succeeds; no event starts
    before that. `ends` compares each batch with the hub; without it the hub is never asked, and an
    event at or below the watermark is finished.
    """

    def __init__(
        self,
        handler: LoadedHandler,
        *,
        breaker: CircuitBreaker,
        progress: ProgressStore,
        poison: PoisonQueue,
        parking: Parking,
        settings: ProcessingSettings,
        count_poison: bool = True,
        instance: str = "",
        telemetry: Telemetry | None = None,
        watch: Watch | None = None,
        prepare: Callable[[], Awaitable[None]] | None = None,
        dependencies: Circuits | None = None,
        crashes: CrashLoops | None = None,
        budget: TimeBudget | None = None,
        ends: HubEnds | None = None,
    ) -> None:
        self._prepare = prepare
        self._ends = ends
        self._crashes = crashes
        self.parts = LaneParts.assemble(
            handler,
            breaker=breaker,
            poison=poison,
            settings=settings,
            telemetry=telemetry or Telemetry(),
            watch=watch or Watch(),
            instance=instance,
            count_poison=count_poison,
            dependencies=dependencies,
            crashes=crashes,
            budget=budget,
        )
        self._progress = progress
        self._copies = BatchCopies(progress, settings)
        self._parking = parking
        self._budgets: dict[Source, Budgets] = {}
        self.replayer = Replayer(self.parts, parking)
        self._runs: set[BatchRun] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    def stop(self) -> None:
        """Stop starting events; running invocations end with `ShutdownError`."""
        self.parts.gate.stop()
        self.replayer.stop()
        if self._crashes is not None:
            self._crashes.stop()

    async def wait_idle(self) -> None:
        """Wait until no invocation and no replay runs."""
        await self._idle.wait()
        await self.replayer.wait_idle()

    @property
    def holding(self) -> bool:
        """Return whether the circuit, or the ramp after its closing, holds events."""
        return not self.parts.breaker.circuit.admits or self.parts.gate.ramping

    @property
    def writing(self) -> bool:
        """Return whether a write of an event's outcome is in progress."""
        return self.replayer.writing or any(run.writing for run in self._runs)

    async def process(self, batch: EventBatch) -> BatchResult:
        """Handle a batch, and return the number of its events by outcome.

        Raises:
            CircuitOpenError: the circuit stayed open for `hold_seconds`.
            OutOfTimeError: the time budget is used up; the batch must run again for the rest.
            OwnershipLostError: another instance owns the partition now.
            ShutdownError: the instance is shutting down.
            StorageUnavailableError: progress or poison could not be written for `hold_seconds`.
        """
        run = BatchRun(
            self.parts,
            batch.source,
            self._budgets_of(batch.source),
            owns=self._progress.owns,
            deferred=self.replayer.note_deferred,
        )
        self._runs.add(run)
        self._idle.clear()
        if self._crashes is not None:
            self._crashes.began(batch.source, run)
        error: BaseException | None = None
        # The watermark would pass an unsorted event, so the order is not left to the sender.
        events = sorted(batch.events, key=attrgetter("sequence_number"))
        recorder, slot = self.parts.handler.recorder, 0
        if events:
            self.parts.watch.began(batch.source, events[0])
            first, last = events[0].sequence_number, events[-1].sequence_number
            slot = recorder.begin("batch", f"{batch.source}: events {first} to {last}")
        try:
            with self.replayer.invocation(self.parts.budget.start_seconds):
                return await self._process(run, batch, events)
        except BaseException as raised:
            error = raised
            if isinstance(raised, OwnershipLostError):
                self.replayer.forget(batch.source)
            raise
        finally:
            try:
                if self._crashes is not None:
                    await self._crashes.ended(batch.source, error)
            finally:  # a cancellation can end the wait
                self.parts.watch.ended(batch.source, error)
                del error  # it refers to this frame
                self._runs.discard(run)
                self.parts.gate.leave(run.hold)
                run.close()
                recorder.end(slot)
                if not self._runs:
                    self._idle.set()

    async def _process(self, run: BatchRun, batch: EventBatch, events: list[Event]) -> BatchResult:
        started = time.perf_counter()
        # A stopping instance must not take the partition from its new owner.
        self.parts.gate.check(run.hold)
        if self._prepare is not None:
            await run.persist(self._prepare)
            self._prepare = None
        await run.persist(self.replayer.wake, batch.source)
        claim = await run.persist(self._claim, batch, events)
        known = claim.progress
        self.replayer.note_claim(batch.source, claim)
        self.replayer.start(batch.source, claim.due)
        # A client that reconnects may deliver an event twice, even within one batch.
        events = list({event.sequence_number: event for event in events}.values())
        pending, finished = events, known.finished_among(events)
        if finished:
            skipped = {event.sequence_number for event in finished}
            pending = [event for event in events if event.sequence_number not in skipped]
        unfinished = len(pending)
        if (copies := await self._copies.find(run, pending)) is not None:
            pending = copies.without(pending)
        if pending:
            run.parking = BatchParking(
                self._parking,
                batch.source,
                claim,
                pending[0],
                persist=run.persist,
                poison=self.parts.poison,
            )
            if self._crashes is not None and claim.openings:
                await self._crashes.judge(claim.openings, pending[0])
        run.budgets.refused.note_events(pending)
        if not claim.events:
            run.budgets.waits_for.clear()  # replays have released all keys
        moved = partial(self.parts.watch.moved, batch.source)
        moved(pending[0] if pending else None)
        run.progress = progress = BatchProgress(
            lambda *written: run.persist(
                self._progress.commit, batch.source, known.owner, *written
            ),
            events,
            finished,
            self.parts.settings.progress_mode,
            moved,
            copies=copies,
        )
        progress.finish_known()
        lanes = self._lanes(run, pending, progress)
        run.begin_lanes(len(lanes))
        await run_lanes(lanes, run.hold, self.parts)
        handled = sum(lane.handled for lane in lanes)
        try:
            await progress.flush()
        finally:
            await run.report_successes(handled)
            result = BatchResult(
                handled=handled,
                poisoned=sum(lane.poisoned for lane in lanes),
                deferred=sum(lane.deferred for lane in lanes),
                parked=sum(lane.parked for lane in lanes),
                skipped=len(batch.events) - unfinished + sum(lane.skipped for lane in lanes),
                duplicates=progress.copied,
                seconds=time.perf_counter() - started,
            )
            self.parts.telemetry.batch_ended(batch.source, result.seconds, result.outcomes)
        whole = sum(result.outcomes.values()) == len(batch.events)
        # The last event may have finished after the deadline.
        if run.hold.halted is not None and not (
            whole and isinstance(run.hold.halted, OutOfTimeError)
        ):
            raise run.hold.halted
        if not whole:
            raise ProcessingError(  # returning would checkpoint events without an outcome
                f"the batch of {batch.source} has {len(batch.events)} events, but the outcomes are "
                f"{result.outcomes}; the batch runs again"
            )
        logger.debug("Batch of %s ended: %s", batch.source, result)
        return result

    def _lanes(
        self, run: BatchRun, events: Sequence[Event], progress: BatchProgress
    ) -> Sequence[Lane]:
        split = split_into_lanes(events, self.parts.settings.keyless_order)
        if not self.parts.handler.takes_lists:
            return [Lane(run, lane, progress) for lane in split]
        lists = ListCalls(run)
        return [ListLane(run, lane, progress, lists) for lane in split]

    async def _claim(self, batch: EventBatch, events: Sequence[Event]) -> Claim:
        """Claim the batch's partition, again after a recreated hub has reset its progress."""
        circuit = self.parts.breaker.circuit
        generation = circuit.generation if circuit.state is CircuitState.CLOSED else 0
        keys = self._list_keys(batch)
        opening = "" if self._crashes is None else self._crashes.opening(batch.source, events)
        claim = await self._parking.claim(
            batch.source, keys, generation=generation, opening=opening
        )
        ends = self._ends
        if ends is None or ends.accepts(batch.source, claim.progress, events):
            return claim
        if not await ends.settle(batch.source, claim.progress, events):
            return claim
        return await self._parking.claim(batch.source, keys, generation=generation, opening=opening)

    def _list_keys(self, batch: EventBatch) -> set[ListKey]:
        """Return the names of the parked lists that the batch's events may have to join."""
        if self.parts.settings.keyless_order == "partition":
            return {event.key for event in batch.events}
        return {
            Lone(position_of(event)) if event.key is None else event.key for event in batch.events
        }

    def _budgets_of(self, source: Source) -> Budgets:
        budgets = self._budgets.get(source)
        if budgets is None:
            seconds = self.parts.settings.defer_after_seconds
            now = asyncio.get_running_loop().time
            budgets = self._budgets[source] = Budgets(seconds, now)
        return budgets
