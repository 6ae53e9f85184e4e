"""The reader of alarms returns each condition of the template, and refuses what it cannot read."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.check_infra.alarms import Alarm, AlarmError, read_alarms, read_queries

ALERTS = Path(__file__).parents[3] / "infra" / "modules" / "alerts.bicep"
TEXT = ALERTS.read_text()


def changed(folder: Path, old: str, new: str) -> Path:
    """Write the template with one change."""
    assert old in TEXT
    file = folder / "alerts.bicep"
    file.write_text(TEXT.replace(old, new, 1))
    return file


def test_metric_alarm_is_read_with_its_whole_condition() -> None:
    alarms = {(alarm.name, alarm.condition): alarm for alarm in read_alarms(ALERTS)}
    assert alarms["workflow-steps-failing", "deployWorkflow"] == Alarm(
        "workflow-steps-failing",
        "Microsoft.Logic/workflows",
        "ActionsFailed",
        "GreaterThan",
        2.0,
        1800.0,
        "Total",
        "deployWorkflow",
    )
    memory = alarms["redis-memory-high", ""]
    assert (memory.metric, memory.threshold) == ("usedmemorypercentage", 75.0)
    assert memory.aggregation == "Maximum"


def test_alarm_of_each_branch_has_its_condition() -> None:
    """The alarm on openings counts another metric in a deployment without the workflow."""
    opened = [alarm for alarm in read_alarms(ALERTS) if alarm.name == "circuit-opened"]
    assert {alarm.condition: alarm.metric for alarm in opened} == {
        "deployWorkflow": "MatchedEventCount",
        "!deployWorkflow": "PublishSuccessCount",
    }


def test_every_alarm_of_the_template_is_read() -> None:
    names = [alarm.name for alarm in read_alarms(ALERTS)] + list(read_queries(ALERTS))
    lists = TEXT.partition("resource actionGroup")[0]
    assert lists.count("    name: '") == len(names)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("threshold: 75", "threshold: lagSeconds", "threshold takes a literal of the type number"),
        ("    threshold: 75\n", "", "threshold takes a literal of the type number"),
        ("window: 'PT15M'", "window: '${x}'", "window takes a literal of the type string"),
        ("window: 'PT15M'", "window: 'P1D'", "the window 'P1D' takes the form"),
        ("var metricAlerts", "var alerts", "the variable metricAlerts has no objects with metric"),
    ],
)
def test_condition_that_cannot_be_read_is_refused(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    with pytest.raises(AlarmError, match=problem):
        read_alarms(changed(tmp_path, old, new))


def test_window_may_have_hours(tmp_path: Path) -> None:
    alarms = read_alarms(changed(tmp_path, "window: 'PT15M'", "window: 'PT1H30M'"))
    assert [each.window_seconds for each in alarms if each.metric == "usedmemorypercentage"] == [
        5400.0
    ]


def test_parameter_in_a_query_is_replaced_by_a_number() -> None:
    """The variable with the table is a literal, and stands in the query."""
    lag = read_queries(ALERTS)["lag-growing"]
    assert lag.endswith('), AppMetrics | where Name == "processing.lag" and Max > 1')
