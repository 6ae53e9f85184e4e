"""The watch over each partition's first unfinished event on one instance.

A partition is *stalled* if its first unfinished event has not changed for `stall_seconds`. Time in
which a circuit, an isolation or a pause holds the partition does not count, and neither does one
call of the handler within its time limit. The processor calls the watch a few times per batch and
at each failure, but never for an event that succeeds at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from breaker import CircuitBreaker, CircuitState
from processing.errors import OwnershipLostError
from processing.event import Event
from processing.formats.event_fields import key_hash
from processing.identity import Source
from processing.monitoring.partition_state import PartitionState, Place, State
from processing.monitoring.reasons import HOLDING, Why, text_of, why_of

RETURN_SECONDS = 30.0
"""Time after a failed invocation in which the platform runs the batch again on this instance."""
UNLIMITED_SECONDS = 600.0
"""Time for which a call of a handler without a time limit is slow; then it is overdue."""

_RANK = {Why.FAILING: -2, Why.KEPT: -1, Why.KEYLESS: -1, Why.FAULTY: -1}
"""The reasons that a more exact reason of the same event outlasts."""

type _Wait = tuple[Why, str]
type Held = Callable[[], Why | None]
"""Function that returns the reason for which no event of the instance starts, or None."""


@dataclass(slots=True)
class _Partition:
    """The first unfinished event of one partition.

    Attributes:
        first: the event; None: no event is unfinished.
        since: time at which the event became the first.
        counted: time from which the stall counts: `since`, or the end of the last hold.
        progressed: time at which another event of the batch last finished.
        running: whether an invocation runs.
        ended: time at which the last invocation ended.
        waits: reason and error of the events that wait, by sequence number.
        whole: reason and error that concern the whole partition, such as a store that is down.
        failed: reason and error with which the last invocation ended.
    """

    first: Place | None
    since: float
    counted: float
    progressed: float
    running: bool = True
    ended: float = 0.0
    waits: dict[int, _Wait] = field(default_factory=dict)
    whole: _Wait | None = None
    failed: _Wait | None = None

    def change(self, first: Place | None, now: float) -> None:
        """Note the partition's first unfinished event; an unchanged event keeps its time."""
        self.progressed = now
        before = self.first
        if first == before:
            return
        self.first, self.since, self.counted, self.failed = first, now, now, None
        if first is None:
            self.waits.clear()
        elif self.waits:
            number = first.sequence_number
            self.waits = {each: wait for each, wait in self.waits.items() if each >= number}

    def reason(self) -> _Wait | None:
        """Return the reason for which the first event waits, or None if a call may run."""
        assert self.first is not None  # noqa: S101 - only called with an event
        if (wait := self.waits.get(self.first.sequence_number)) is not None:
            return self.whole or wait
        if self.whole is not None or self.failed is not None:
            return self.whole or self.failed
        # The first event's lane may not have started, because other events keep all lanes. Events
        # that only fail do not: their attempts end soon.
        kept = [each for each, (why, _) in self.waits.items() if why is not Why.FAILING]
        return self.waits[min(kept)] if kept else None


class Watch:
    """The watch of one instance; all methods run on the event loop, and none of them raises.

    Args:
        stall_seconds: time after which an unchanged first event counts as a stall.
        handler_seconds: time limit of one call of the handler; 0: no limit.
        held: returns the reason for which no event of any partition starts; see `held_by`.
        clock: returns seconds that never decrease.
    """

    def __init__(
        self,
        stall_seconds: float = 60.0,
        *,
        handler_seconds: float = 60.0,
        held: Held = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stall_seconds = stall_seconds
        # A call is cancelled at most a tenth of its limit late.
        self._call_seconds = 1.1 * handler_seconds or UNLIMITED_SECONDS
        self._held = held
        self._clock = clock
        self._partitions: dict[Source, _Partition] = {}

    def began(self, source: Source, first: Event) -> None:
        """Note that an invocation has begun.

        Args:
            source: the partition.
            first: the batch's first event, which may be finished already.
        """
        now, place = self._clock(), Place.of(first)
        found = self._partitions.get(source)
        if found is None:
            self._partitions[source] = _Partition(place, now, now, now)
            return
        found.running, found.whole = True, None
        if found.waits:  # a hold ends with its invocation; the lanes of this one name a new hold
            found.waits = {
                each: wait for each, wait in found.waits.items() if wait[0] not in HOLDING
            }
        # A redelivered batch may begin with finished events; `moved` names the unfinished one.
        known = found.first
        if known is None or known.sequence_number < place.sequence_number:
            found.change(place, now)

    def moved(self, source: Source, first: Event | None) -> None:
        """Note the first unfinished event of a running invocation after events have finished."""
        if (found := self._partitions.get(source)) is not None:
            found.change(None if first is None else Place.of(first), self._clock())

    def waits(
        self,
        source: Source,
        event: Event | None,
        why: Why | None = None,
        error: BaseException | str = "",
    ) -> None:
        """Note that an event waits, and why.

        Args:
            source: the partition.
            event: the event; None: the whole partition waits.
            why: the reason; None: derived from the error.
            error: the error, or a text.
        """
        found = self._partitions.get(source)
        if found is None:
            return
        if why is None:
            why = why_of(error) if isinstance(error, BaseException) else Why.ERROR
            if why is None:
                return
        if event is None:
            found.whole = (why, text_of(error))
        elif found.first is None or event.sequence_number >= found.first.sequence_number:
            # An earlier event is finished; only a replay of a deferred event names one.
            known = found.waits.get(event.sequence_number)
            if known is not None and _RANK.get(why, 0) < _RANK.get(known[0], 0):
                why = known[0]  # the attempts of a kept event fail, too
            found.waits[event.sequence_number] = (why, text_of(error))

    def settled(self, source: Source, event: Event | None) -> None:
        """Note that an event does not wait any more; None: the whole partition."""
        if (found := self._partitions.get(source)) is None:
            return
        if event is None:
            found.whole = None
        else:
            found.waits.pop(event.sequence_number, None)

    def ended(self, source: Source, error: BaseException | None = None) -> None:
        """Note that an invocation has ended; after an error its first event is unfinished."""
        if isinstance(error, OwnershipLostError):
            self.lost(source)
            return
        if (found := self._partitions.get(source)) is None:
            return
        now = self._clock()
        found.running, found.ended = False, now
        if error is None:
            found.change(None, now)
            return
        why = why_of(error)
        # A general error of the batch must not hide the reason that the event has.
        number = -1 if found.first is None else found.first.sequence_number
        if why is not None and number not in found.waits:
            found.failed = (why, text_of(error))

    def lost(self, source: Source) -> None:
        """Note that another instance owns the partition."""
        self._partitions.pop(source, None)

    def states(self) -> list[PartitionState]:
        """Return the state of each partition with an unfinished event.

        The caller calls this at least every few seconds: a hold that begins and ends between two
        calls counts as a stall's time.
        """
        now, held = self._clock(), self._held()
        self._forget(now)
        return [
            self._state(source, each, now, held)
            for source, each in self._partitions.items()
            if each.first is not None
        ]

    def _forget(self, now: float) -> None:
        """Forget partitions that the platform no longer passes to this instance."""
        gone = [
            source
            for source, each in self._partitions.items()
            if not each.running and (each.first is None or now - each.ended > RETURN_SECONDS)
        ]
        for source in gone:
            del self._partitions[source]

    def _state(
        self, source: Source, found: _Partition, now: float, held: Why | None
    ) -> PartitionState:
        why, error = found.reason() or (None, "")
        why = held or why
        state = State.OK
        if why in HOLDING:
            found.counted = now
            if why is not Why.RAMP:
                state = State.PAUSED if why is Why.PAUSED else State.HOLDING
            error = "" if held else error
        elif why is Why.RECREATED or now - found.counted >= self.stall_seconds:
            # A recreated hub waits for an operator's command, however short the time is.
            state = State.STALLED
            if why is None and now - max(found.counted, found.progressed) < self._call_seconds:
                state = State.SLOW
            elif why is None:
                why, error = Why.OVERDUE, "the call has not returned within its time limit"
        return PartitionState(
            source.hub,
            source.partition,
            state,
            round(now - found.since, 1),
            None if found.first is None else found.first.sequence_number,
            "" if found.first is None else key_hash(found.first.key),
            why,
            error,
        )


def held_by(breaker: CircuitBreaker) -> Held:
    """Return a function that returns the reason for which the circuit holds every partition."""

    def held() -> Why | None:
        circuit = breaker.circuit
        if circuit.state is CircuitState.ISOLATED:
            return Why.ISOLATED
        if circuit.state is not CircuitState.CLOSED:
            return Why.CIRCUIT
        if circuit.holding:  # the circuit's store does not answer; this is no decision of a circuit
            return Why.STORAGE
        return Why.RAMP if breaker.ramp_share < 1 else None

    return held
