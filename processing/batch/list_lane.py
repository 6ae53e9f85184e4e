"""A lane of a handler that takes lists: its events are called in lists, or alone."""

from __future__ import annotations

from collections.abc import Sequence

from breaker import Permit
from processing.batch.lane import Lane
from processing.batch.lists import ListCalls
from processing.batch.run import BatchRun
from processing.event import Event
from processing.monitoring.telemetry import Handle
from processing.progress.group_commit import BatchProgress


class ListLane(Lane):
    """The events of one key in one batch, in order, for a handler that takes lists.

    Args:
        run: the invocation.
        events: the events.
        progress: the progress of the batch.
        lists: the lists of the invocation.
    """

    def __init__(
        self, run: BatchRun, events: Sequence[Event], progress: BatchProgress, lists: ListCalls
    ) -> None:
        super().__init__(run, events, progress)
        self._lists = lists
        self._known: tuple[Exception, Permit] | None = None  # of a call with the first event alone

    async def _handle(self, events: Sequence[Event]) -> Sequence[Event]:
        """Handle events, and return the events behind one that parked or deferred the key."""
        while events:
            alone = 1
            if not self._is_careful:
                done, alone = await self._offer(events)
                events = events[done:]
            if not alone:
                continue
            # The lanes that hold `alone` wait for the turn of careful mode.
            self._parts.gate.leave_turn()
            async with self._run.alone:  # as many as a handler of one event has at the same time
                behind = await super()._handle(events[:alone])
            events = [*behind, *events[alone:]]
            if behind or self._is_parked():
                return events
        return ()

    @property
    def _is_careful(self) -> bool:
        crashes = self._parts.crashes
        return crashes is not None and crashes.switch.on

    async def _offer(self, events: Sequence[Event]) -> tuple[int, int]:
        """Offer events to the next lists.

        Returns:
            The number of finished events, and of those behind them that must be called alone.
        """
        gate = self._parts.gate
        permit = self._permit = gate.try_admit(self._run.hold) or await self._admit()
        probes = permit.probe_id is not None
        try:
            offered = events[:1] if probes else events
            done, alone, error, written = await self._lists.offer(offered, permit)
        except BaseException:
            await gate.release(permit)
            raise
        if not done:
            await gate.release(permit)
        elif probes:
            await self._finish_outcome(events[0], permit, None)
        else:
            self.handled += done
        if written is not None:
            await self._progress.written(written)
            for event in events[:done]:
                self._parts.telemetry.event_finished(event)
        self._known = None if error is None else (error, permit)
        return done, alone

    def _first_call(self) -> Handle:
        """Return the handler; its first call raises what a list of the event alone has raised."""
        known, self._known = self._known, None
        if known is None:
            return self._parts.handle
        (error, permit), called = known, False

        async def handle(event: Event) -> None:
            nonlocal called
            # A probe, and an event of a later generation, says how the dependency is now.
            if not called and permit == self._permit:
                called = True
                raise error
            await self._parts.handle(event)

        return handle
