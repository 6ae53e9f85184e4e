"""What processing tells OpenTelemetry: API only, so that the host decides where it goes.

| instrument | kind | meaning |
|---|---|---|
| processing.events | counter | events by `outcome`: handled, poisoned, parked, skipped |
| processing.handler.duration | histogram, s | one call of the handler, by `outcome`: ok, error |
| processing.handler.overdue | counter | a call did not end when it was to; once per further limit |
| processing.lag | histogram, s | from the hub taking an event to its being finished |
| processing.hold.duration | histogram, s | how long the gate kept a lane waiting |
| processing.batch.duration | histogram, s | one invocation |

An event whose producer sent a trace context along (application property `traceparent`, or
`Diagnostic-Id` as Azure's SDKs write it) is handled inside a span that continues it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.propagate import extract
from opentelemetry.trace import SpanKind

from processing.event import Event, Source
from processing.monitoring.vitals import Vitals

type Handle = Callable[[Event], Awaitable[None]]

_OK = {"outcome": "ok"}
_ERROR = {"outcome": "error"}


class Telemetry:
    """The instruments of one processor.

    Args:
        meter, tracer: None for the process's own.
        vitals: told of each call and each batch as well.
    """

    def __init__(
        self,
        meter: metrics.Meter | None = None,
        tracer: trace.Tracer | None = None,
        vitals: Vitals | None = None,
    ) -> None:
        self._vitals = vitals or Vitals()
        meter = meter or metrics.get_meter("processing")
        self._tracer = tracer or trace.get_tracer("processing")
        self._events = meter.create_counter("processing.events", description="events by outcome")
        self._handler = meter.create_histogram("processing.handler.duration", unit="s")
        self._overdue = meter.create_counter("processing.handler.overdue")
        self._lag = meter.create_histogram("processing.lag", unit="s")
        self._hold = meter.create_histogram("processing.hold.duration", unit="s")
        self._batch = meter.create_histogram("processing.batch.duration", unit="s")

    def measured(self, handle: Handle) -> Handle:
        """The handler, with each call measured, inside a span where the event brings a trace."""
        record, clock, called = self._handler.record, time.perf_counter, self._vitals.called

        async def call(event: Event) -> None:
            started = clock()
            outcome = _ERROR
            try:
                if "traceparent" in event.properties or "Diagnostic-Id" in event.properties:
                    await self._in_span(handle, event)
                else:
                    await handle(event)
                outcome = _OK
            finally:
                seconds = clock() - started
                record(seconds, outcome)
                called(seconds, outcome is _ERROR)

        return call

    def event_finished(self, event: Event) -> None:
        """An event is handled, poisoned or parked, and that is written."""
        self._lag.record(max(0.0, time.time() - event.enqueued_ms / 1000))

    def handler_late(self) -> None:
        """A call of the handler did not end when it was to, or still has not."""
        self._overdue.add(1)

    def held(self, seconds: float) -> None:
        """The gate kept a lane waiting."""
        self._hold.record(seconds)

    def batch_ended(self, source: Source, seconds: float, outcomes: Mapping[str, int]) -> None:
        """An invocation ended, well or not, with so many events by outcome."""
        self._batch.record(seconds, {"partition": source.partition})
        self._vitals.ended(outcomes)
        for outcome, count in outcomes.items():
            if count:
                self._events.add(count, {"outcome": outcome, "partition": source.partition})

    async def _in_span(self, handle: Handle, event: Event) -> None:
        properties = event.properties
        parent = properties.get("traceparent") or properties.get("Diagnostic-Id")
        carrier = {"traceparent": str(parent)}
        if state := properties.get("tracestate"):
            carrier["tracestate"] = str(state)
        with self._tracer.start_as_current_span(
            "handle event",
            context=extract(carrier),
            kind=SpanKind.CONSUMER,
            attributes={
                "messaging.system": "eventhubs",
                "messaging.destination.partition.id": event.partition,
                "messaging.eventhubs.message.enqueued_time": event.enqueued_ms // 1000,
                "breakwater.sequence_number": event.sequence_number,
            },
        ):
            await handle(event)


def log_fields(source: Source, event: Event) -> dict[str, Any]:
    """What a log record says of an event: where it is, and whose, by hash; never what it holds."""
    return {
        "hub": source.hub,
        "partition": source.partition,
        "sequence_number": event.sequence_number,
        "key_hash": key_hash(event.key),
    }


def key_hash(key: str | None) -> str:
    """Twelve hexadecimal digits that tell keys apart without showing them; "" without a key."""
    return "" if key is None else hashlib.sha256(key.encode()).hexdigest()[:12]
