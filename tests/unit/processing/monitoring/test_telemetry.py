"""Metrics, spans and log lines of processing, read through the OpenTelemetry SDK."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore
from processing.batch.processor import BatchProcessor
from processing.errors import PoisonEventError
from processing.event import Event
from processing.formats.event_fields import key_hash
from processing.handlers.loading import LoadedHandler
from processing.monitoring.telemetry import Telemetry
from processing.parking.batch import Parking
from processing.parking.memory import MemoryParkingStore
from processing.poison.memory import MemoryClaimChecks, MemoryPoisonQueue
from processing.settings import ProcessingSettings
from tests.support.processing.events import SOURCE, batch, event

TRACE = "0af7651916cd43dd8448eb211c80319c"


class Rig:
    """A processor whose metrics and spans can be read."""

    def __init__(self, pipeline: str = "") -> None:
        self.reader = InMemoryMetricReader()
        self.spans = InMemorySpanExporter()
        self._meters = MeterProvider([self.reader])
        self._tracers = TracerProvider()
        self._tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        meter, tracer = self._meters.get_meter("t"), self._tracers.get_tracer("t")
        self.telemetry = Telemetry(meter, tracer, pipeline=pipeline)

    async def process(self, *events: Event) -> None:
        async def handle(each: Event) -> None:
            if each.key == "secret-key":
                raise PoisonEventError(f"cannot read {each.body!r}")

        async with CircuitBreaker(MemoryCircuitStore("c"), BreakerSettings(name="c")) as breaker:
            store = MemoryParkingStore()
            processor = BatchProcessor(
                LoadedHandler("h", handle),
                breaker=breaker,
                progress=store.progress,
                poison=MemoryPoisonQueue(),
                parking=Parking(store, MemoryClaimChecks()),
                settings=ProcessingSettings(),
                telemetry=self.telemetry,
            )
            await processor.process(batch(events))

    def points(self, name: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        assert data is not None
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def close(self) -> None:
        self._meters.shutdown()
        self._tracers.shutdown()


@pytest.fixture
def rig() -> Any:
    opened = Rig()
    yield opened
    opened.close()


async def test_each_event_is_counted_once_by_its_outcome(rig: Rig) -> None:
    """A repeated event counts as skipped."""
    await rig.process(event(0, "a"), event(0, "a"), event(1, "secret-key"), event(2, "b"))
    counted = {p.attributes["outcome"]: p.value for p in rig.points("processing.events")}
    assert counted == {"handled": 2, "poisoned": 1, "skipped": 1}


async def test_metrics_of_a_declared_pipeline_have_its_name() -> None:
    """An alarm can tell the pipelines apart; an app without declared ones keeps its metrics."""
    names = (
        *("processing.events", "processing.handler.duration", "processing.lag"),
        *("processing.batch.duration", "processing.handler.overdue", "processing.events_expired"),
    )
    for pipeline in ("orders", ""):
        rig = Rig(pipeline)
        await rig.process(
            event(0, "a", properties={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"})
        )
        rig.telemetry.handler_late()
        rig.telemetry.events_expired(SOURCE, 1)
        found = {p.attributes.get("pipeline", "") for name in names for p in rig.points(name)}
        assert found == {pipeline}
        (span,) = rig.spans.get_finished_spans()
        assert (span.attributes or {}).get("pipeline", "") == pipeline
        rig.close()


async def test_handler_calls_and_lag_are_measured(rig: Rig) -> None:
    """Each call has a duration, and each finished event has a lag."""
    await rig.process(event(0, "a"), event(1, "secret-key"))
    rig.telemetry.handler_late()
    assert [p.value for p in rig.points("processing.handler.overdue")] == [1]
    rig.telemetry.handler_faulty()
    assert [p.value for p in rig.points("processing.handler.faulty")] == [1]
    calls = {p.attributes["outcome"]: p.count for p in rig.points("processing.handler.duration")}
    assert calls == {"ok": 1, "error": 1}
    (lag,) = rig.points("processing.lag")
    assert lag.count == 2
    assert lag.min > 0
    (duration,) = rig.points("processing.batch.duration")
    assert duration.count == 1


@pytest.mark.parametrize("name", ["traceparent", "Diagnostic-Id"])
async def test_spans_continue_the_producers_trace(rig: Rig, name: str) -> None:
    """An event with a trace context is handled inside its producer's trace."""
    context = {name: f"00-{TRACE}-b7ad6b7169203331-01"}
    await rig.process(event(0, "a", properties=context), event(1, "a"))
    (span,) = rig.spans.get_finished_spans()
    assert f"{span.context.trace_id:032x}" == TRACE
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == "b7ad6b7169203331"
    assert span.attributes is not None
    assert span.attributes["breakwater.sequence_number"] == 0


async def test_event_with_a_broken_trace_context_is_handled(rig: Rig) -> None:
    """A producer may send any text as trace context."""
    await rig.process(event(0, "a", properties={"traceparent": "nonsense", "tracestate": 3}))
    (point,) = rig.points("processing.events")
    assert point.attributes["outcome"] == "handled"


async def test_logs_contain_neither_body_nor_key(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """A log line names the partition, the sequence number and the key's hash."""
    with caplog.at_level(logging.DEBUG):
        await rig.process(event(7, "secret-key", body=b"the body"))
    assert "secret-key" not in caplog.text
    assert "the body" not in caplog.text
    record = next(r for r in caplog.records if "poison queue" in r.message)
    assert record.__dict__["sequence_number"] == 7
    assert record.__dict__["partition"] == "0"
    assert record.__dict__["key_hash"] == key_hash("secret-key")


def test_expired_events_are_counted_by_partition(rig: Rig) -> None:
    """The alarm events-expired fires for each gap that a batch has met."""
    rig.telemetry.events_expired(SOURCE, 50)
    rig.telemetry.events_expired(SOURCE, 3)
    (point,) = rig.points("processing.events_expired")
    assert (point.value, dict(point.attributes)) == (53, {"partition": "0"})
