"""Metrics and spans of processing, with OpenTelemetry's API; the host configures the export.

| instrument | kind | meaning |
|---|---|---|
| processing.events | counter | events by `outcome`: see below |
| processing.events_expired | counter | events that expired unhandled, by `partition` |
| processing.handler.duration | histogram, s | one call of the handler, by `outcome`: ok, error |
| processing.handler.overdue | counter | calls over the limit; again after each further limit |
| processing.handler.faulty | counter | calls whose result shows that their work was not done |
| processing.loop.blocked | histogram, s | one standstill of the event loop |
| processing.lag | histogram, s | time from an event's enqueuing to its end |
| processing.hold.duration | histogram, s | one wait of a lane at the gate |
| processing.batch.duration | histogram, s | one invocation |

With declared pipelines, all instruments but processing.loop.blocked, which is about the process,
have the attribute `pipeline`.

Outcomes of events in a batch: handled, poisoned, deferred, parked, skipped, duplicates. A deferred
event has a second one in its replay: replayed or poisoned.

If an event carries a trace context (application property `traceparent`, or `Diagnostic-Id` of
Azure's SDKs), it is handled inside a span that continues that trace.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.propagate import extract
from opentelemetry.trace import SpanKind

from processing.event import Event
from processing.identity import Source
from processing.monitoring.vitals import Vitals

type Handle = Callable[[Event], Awaitable[None]]
type HandleList = Callable[[tuple[Event, ...]], Awaitable[None]]

MOST_LINKS = 128
"""Most links of one span, as OpenTelemetry's SDK keeps them."""


@dataclass(slots=True)
class Switch:
    """A switch that each call of the handler looks at."""

    on: bool = False


class Guard(Protocol):
    """The calls of the handler in careful mode; `processing.crashes.loops.CrashLoops` is one.

    Attributes:
        switch: on in careful mode.
    """

    switch: Switch

    @property
    def is_mine(self) -> bool: ...  # noqa: D102

    async def run(self, handle: Handle, event: Event) -> None: ...  # noqa: D102

    def failed(self, event: Event, error: BaseException) -> None: ...  # noqa: D102


class Telemetry:
    """The instruments of one processor.

    Args:
        meter, tracer: None: the process's global meter and tracer.
        vitals: also counts each call and each batch.
        pipeline: the name of a declared pipeline; "" for the only one of an app.
    """

    def __init__(
        self,
        meter: metrics.Meter | None = None,
        tracer: trace.Tracer | None = None,
        vitals: Vitals | None = None,
        pipeline: str = "",
    ) -> None:
        self._of_pipeline: dict[str, str] = {"pipeline": pipeline} if pipeline else {}
        self._ok = {"outcome": "ok"} | self._of_pipeline
        self._error = {"outcome": "error"} | self._of_pipeline
        self._vitals = vitals or Vitals()
        meter = meter or metrics.get_meter("processing")
        self._tracer = tracer or trace.get_tracer("processing")
        self._events = meter.create_counter("processing.events", description="events by outcome")
        self._expired = meter.create_counter("processing.events_expired")
        self._handler = meter.create_histogram("processing.handler.duration", unit="s")
        self._overdue = meter.create_counter("processing.handler.overdue")
        self._faulty = meter.create_counter("processing.handler.faulty")
        self._blocked = meter.create_histogram("processing.loop.blocked", unit="s")
        self._lag = meter.create_histogram("processing.lag", unit="s")
        self._hold = meter.create_histogram("processing.hold.duration", unit="s")
        self._batch = meter.create_histogram("processing.batch.duration", unit="s")

    def measured(
        self,
        handle: Handle,
        *,
        succeeded: Callable[[float], None] = lambda _seconds: None,
        guard: Guard | None = None,
    ) -> Handle:
        """Return a handler that measures each call, and adds a span if the event has a trace.

        Args:
            handle: the handler.
            succeeded: called after each call that succeeded, with its duration in seconds.
            guard: makes the calls in careful mode.
        """
        record, clock, called = self._handler.record, time.perf_counter, self._vitals.record_call
        ok, failed = self._ok, self._error
        switch = Switch() if guard is None else guard.switch

        async def call(event: Event) -> None:
            if switch.on and guard is not None and not guard.is_mine:
                await guard.run(call, event)
                return
            started = clock()
            outcome = failed
            try:
                if "traceparent" in event.properties or "Diagnostic-Id" in event.properties:
                    await self._in_span(handle, event)
                else:
                    await handle(event)
                outcome = ok
            except BaseException as error:
                if guard is not None:
                    guard.failed(event, error)
                raise
            finally:
                seconds = clock() - started
                record(seconds, outcome)
                called(seconds, outcome is failed)
            succeeded(seconds)

        return call

    def measured_list(
        self,
        handle: HandleList,
        *,
        succeeded: Callable[[float], None] = lambda _seconds: None,
        guard: Guard | None = None,
    ) -> HandleList:
        """Return a handler of lists that measures each call; see `measured`.

        The span of a list is linked with the traces of its events. In careful mode no list starts.
        """
        record, clock, called = self._handler.record, time.perf_counter, self._vitals.record_call
        ok, failed = self._ok, self._error

        async def call(events: tuple[Event, ...]) -> None:
            started = clock()
            outcome = failed
            try:
                if links := _links(events):
                    kind = SpanKind.CONSUMER
                    with self._tracer.start_as_current_span("handle list", kind=kind, links=links):
                        await handle(events)
                else:
                    await handle(events)
                outcome = ok
            except BaseException as error:
                if guard is not None:
                    guard.failed(events[0], error)
                raise
            finally:
                seconds = clock() - started
                record(seconds, outcome)
                called(seconds, outcome is failed)
            succeeded(seconds)

        return call

    def event_finished(self, event: Event) -> None:
        """Record the lag of an event that is handled, poisoned or parked, and committed."""
        self._lag.record(max(0.0, time.time() - event.enqueued_ms / 1000), self._of_pipeline)

    def events_expired(self, source: Source, count: int) -> None:
        """Count events that the hub has removed before they were handled."""
        self._expired.add(count, {"partition": source.partition} | self._of_pipeline)

    def handler_late(self) -> None:
        """Count a call of the handler that exceeds its time limit."""
        self._overdue.add(1, self._of_pipeline)

    def handler_faulty(self) -> None:
        """Count a call of the handler whose result shows that its work was not done."""
        self._faulty.add(1, self._of_pipeline)

    def loop_blocked(self, seconds: float) -> None:
        """Record a standstill of the event loop."""
        self._blocked.record(seconds)

    def held(self, seconds: float) -> None:
        """Record a wait of a lane at the gate."""
        self._hold.record(seconds, self._of_pipeline)

    def batch_ended(self, source: Source, seconds: float, outcomes: Mapping[str, int]) -> None:
        """Record an ended invocation, its duration and the number of its events by outcome."""
        self._batch.record(seconds, {"partition": source.partition} | self._of_pipeline)
        self._count(source, outcomes)

    def replay_ended(self, source: Source, outcome: str) -> None:
        """Count an event that a replay has finished; the outcome is replayed or poisoned."""
        self._count(source, {outcome: 1})

    def _count(self, source: Source, outcomes: Mapping[str, int]) -> None:
        self._vitals.record_outcomes(outcomes)
        for outcome, count in outcomes.items():
            if count:
                attributes = {"outcome": outcome, "partition": source.partition}
                self._events.add(count, attributes | self._of_pipeline)

    async def _in_span(self, handle: Handle, event: Event) -> None:
        with self._tracer.start_as_current_span(
            "handle event",
            context=_context_of(event),
            kind=SpanKind.CONSUMER,
            attributes={
                **self._of_pipeline,
                "messaging.system": "eventhubs",
                "messaging.destination.partition.id": event.partition,
                "messaging.eventhubs.message.enqueued_time": event.enqueued_ms // 1000,
                "breakwater.sequence_number": event.sequence_number,
            },
        ):
            await handle(event)


def _has_trace(event: Event) -> bool:
    return "traceparent" in event.properties or "Diagnostic-Id" in event.properties


def _context_of(event: Event) -> Context:
    """Return the trace context that an event carries."""
    properties = event.properties
    parent = properties.get("traceparent") or properties.get("Diagnostic-Id")
    carrier = {"traceparent": str(parent)}
    if state := properties.get("tracestate"):
        carrier["tracestate"] = str(state)
    return extract(carrier)


def _links(events: Sequence[Event]) -> list[trace.Link]:
    """Return links to the traces of a list's first events that carry one."""
    traced = islice(filter(_has_trace, events), MOST_LINKS)
    return [
        trace.Link(trace.get_current_span(_context_of(each)).get_span_context()) for each in traced
    ]
