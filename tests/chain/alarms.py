"""The metric alarms of the template, held against the metrics that the platform emitted."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from functools import cache

from scripts.check_infra.alarms import Alarm, read_alarms
from tests.chain.infra import INFRA
from tests.chain.metrics import Metric

ORDINARY = frozenset({"circuit-opened"})
"""Alarms of every opening, which do not say that something failed."""
_NOT_DEPLOYED = frozenset({"!deployWorkflow"})
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThan": operator.gt,
    "GreaterThanOrEqual": operator.ge,
}
_TOTALS: dict[str, Callable[[Sequence[float]], float]] = {"Total": sum, "Count": len}


@cache
def template_alarms() -> tuple[Alarm, ...]:
    """Return the metric alarms of a deployment with the workflow; alarms by query do not count."""
    alarms = read_alarms(INFRA / "modules" / "alerts.bicep")
    return tuple(
        alarm
        for alarm in alarms
        if alarm.condition not in _NOT_DEPLOYED and alarm.name not in ORDINARY
    )


def fired(alarms: Iterable[Alarm], metrics: Sequence[Metric], since: float) -> list[str]:
    """Return the names of the alarms that fire because of counts after a time."""
    later = [each for each in metrics if each.at > since]
    return [alarm.name for alarm in alarms if _fires(alarm, later)]


def _fires(alarm: Alarm, metrics: Sequence[Metric]) -> bool:
    times = [
        each.at
        for each in metrics
        if (each.namespace, each.name) == (alarm.namespace, alarm.metric)
    ]
    exceeds, total = _OPERATORS.get(alarm.operator), _TOTALS.get(alarm.aggregation)
    if not times or exceeds is None or total is None:
        return False  # a count is never below a threshold for the first time by a fault
    return any(
        exceeds(
            total([1.0 for at in times if end - alarm.window_seconds < at <= end]), alarm.threshold
        )
        for end in times
    )
