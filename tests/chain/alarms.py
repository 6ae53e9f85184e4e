"""The metric alarms of the template, held against the metrics that the platform emitted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from tests.chain.infra import INFRA
from tests.chain.metrics import Metric

ORDINARY = frozenset({"circuit-opened"})
"""Alarms of each opening, which say nothing about what follows."""


@dataclass(frozen=True)
class Alarm:
    name: str
    namespace: str
    metric: str
    operator: str
    threshold: float
    window_seconds: float
    aggregation: str


def read_alarms() -> list[Alarm]:
    text = (INFRA / "modules" / "alerts.bicep").read_text().partition("queryAlerts")[0]
    found = re.findall(
        r"name: '([a-z-]+)'.*?namespace: '([^']+)'\s+metric: ([^\n]+)", text, re.DOTALL
    )
    return [
        Alarm(name, namespace, re.findall(r"'(\w+)'", metric)[0], "GreaterThan", 0, 300, "Total")
        for name, namespace, metric in found
    ]


@cache
def template_alarms() -> tuple[Alarm, ...]:
    return tuple(read_alarms())


def fired(alarms: Iterable[Alarm], metrics: Sequence[Metric], since: float) -> list[str]:
    """Return the names of the alarms that fire because of counts after a time."""
    return [
        alarm.name
        for alarm in alarms
        if alarm.name not in ORDINARY and _fires(alarm, [each for each in metrics if each.at > since])
    ]


def _fires(alarm: Alarm, metrics: Sequence[Metric]) -> bool:
    assert (alarm.operator, alarm.aggregation) == ("GreaterThan", "Total"), alarm
    times = [
        each.at
        for each in metrics
        if (each.namespace, each.name) == (alarm.namespace, alarm.metric)
    ]
    return any(
        sum(end - alarm.window_seconds < at <= end for at in times) > alarm.threshold
        for end in times
    )
