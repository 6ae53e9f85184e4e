"""The gauges of several pipelines in one process."""

from __future__ import annotations

import gc
import warnings
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from processing.monitoring.partition_state import PartitionState
from processing.monitoring.stall_gauges import create_gauges
from processing.partitions.lag import PartitionLag


class Seen:
    """The view of one pipeline, whose replays have stopped."""

    states: tuple[PartitionState, ...] = ()
    partitions: tuple[PartitionLag, ...] = ()
    replays_stopped = True


def test_each_pipelines_gauges_have_its_name_and_end_with_it() -> None:
    """A meter takes each name once, so the second pipeline joins the gauges of the first one."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    orders, audit = Seen(), Seen()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seen, pipeline in ((orders, "orders"), (audit, "audit")):
            create_gauges(seen, provider.get_meter("t"), pipeline)
    assert stopped(reader) == [{"pipeline": "orders"}, {"pipeline": "audit"}]
    del orders, seen
    gc.collect()
    assert stopped(reader) == [{"pipeline": "audit"}]
    provider.shutdown()


def stopped(reader: InMemoryMetricReader) -> list[Any]:
    """Return the attributes of each value of the gauge, whose metric exists once."""
    data = reader.get_metrics_data()
    assert data is not None
    (metric,) = [
        metric
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "processing.replays_stopped"
    ]
    return [dict(point.attributes or {}) for point in metric.data.data_points]
