"""The reader of alarms.

`read_alarms` returns the metric alarms of infra/modules/alerts.bicep, so that a test compares their
conditions with what the workflow does. `read_queries` returns the queries of the log alarms.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tree_sitter import Node

from scripts.check_infra.bicep import syntax_tree

_INTERPOLATION = re.compile(r"\$\{([^}]*)\}")
_LITERAL = re.compile(r"^var (\w+) = '(.*)'$", re.MULTILINE)
_WINDOW = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?")


class AlarmError(ValueError):
    """A list of alarms that cannot be read; the message names the file and the alarm."""


@dataclass(frozen=True)
class Alarm:
    """One metric alarm.

    Attributes:
        namespace: the type of the resource that publishes the metric.
        operator: `GreaterThan` and the like, as in the template.
        window_seconds: the time over which the metric is aggregated.
        condition: the parameter with which the alarm is deployed, with `!` before the parameter
            if the alarm is deployed without it; empty for an alarm that is always deployed.
    """

    name: str
    namespace: str
    metric: str
    operator: str
    threshold: float
    window_seconds: float
    aggregation: str
    condition: str = ""


def read_alarms(path: Path) -> list[Alarm]:
    """Return the metric alarms of a Bicep file, in the file's order.

    Raises:
        AlarmError: there is no list of metric alarms, or a property is missing or not a literal.
    """
    return [
        Alarm(
            name=_text(path, each, "name"),
            namespace=_text(path, each, "namespace"),
            metric=_text(path, each, "metric"),
            operator=_text(path, each, "operator"),
            threshold=float(_property(path, each, "threshold", "number")),
            window_seconds=_seconds(path, _text(path, each, "window")),
            aggregation=_text(path, each, "aggregation"),
            condition=_condition(each),
        )
        for each in _entries(path, "metricAlerts", "metric")
    ]


def read_queries(path: Path) -> dict[str, str]:
    """Return the queries of a Bicep file's log alarms by alarm, with 1 in the place of parameters.

    A variable that is a literal is in the query with its value.

    Raises:
        AlarmError: there is no list of log alarms, or a name is not a literal.
    """
    texts = _literals(path)
    return {
        _text(path, each, "name"): _query(each, texts)
        for each in _entries(path, "queryAlerts", "query")
    }


def read_split_queries(path: Path) -> dict[str, str]:
    """Return the queries of the log alarms that a deployment with pipelines splits.

    Such an alarm names the attribute of its metric, and the deployment adds a column for it. The
    keys are "NAME by ATTRIBUTE".

    Raises:
        AlarmError: see `read_queries`.
    """
    found = {}
    texts = _literals(path)
    for each in _entries(path, "queryAlerts", "by"):
        column = _text(path, each, "by")
        split = f" | extend {column} = tostring(Properties.{column})"
        found[f"{_text(path, each, 'name')} by {column}"] = _query(each, texts) + split
    return found


def _literals(path: Path) -> dict[str, str]:
    """Return the variables of a Bicep file that are literal texts."""
    return dict(_LITERAL.findall(path.read_text()))


def _query(entry: Node, texts: Mapping[str, str]) -> str:
    source = _INTERPOLATION.sub(
        lambda match: texts.get(match[1], "1"), _source(_properties(entry)["query"])
    )
    return source.strip("'").replace("\\'", "'")


def _entries(path: Path, variable: str, key: str) -> list[Node]:
    """Return the objects of a variable that have a property."""
    root = syntax_tree(path.name, path.read_text())
    found = [
        entry
        for child in root.children
        if child.type == "variable_declaration" and _source(child.named_children[0]) == variable
        for entry in _objects(child)
        if key in _properties(entry)
    ]
    if not found:
        raise AlarmError(f"{path.name}: the variable {variable} has no objects with {key}")
    return found


def _objects(node: Node) -> Iterator[Node]:
    if node.type == "object":
        yield node
    for child in node.children:
        yield from _objects(child)


def _properties(node: Node) -> dict[str, Node]:
    pairs = [child.named_children for child in node.children if child.type == "object_property"]
    return {_source(pair[0]): pair[-1] for pair in pairs}


def _property(path: Path, entry: Node, name: str, kind: str) -> str:
    value = _properties(entry).get(name)
    if value is None or value.type != kind or "${" in _source(value):
        line = entry.start_point[0] + 1
        raise AlarmError(f"{path.name}:{line}: {name} takes a literal of the type {kind}")
    return _source(value)


def _text(path: Path, entry: Node, name: str) -> str:
    return _property(path, entry, name, "string").strip("'")


def _seconds(path: Path, window: str) -> float:
    match = _WINDOW.fullmatch(window)
    if match is None or not any(match.groups()):
        raise AlarmError(f"{path.name}: the window {window!r} takes the form PT15M or PT1H")
    hours, minutes = (int(each or 0) for each in match.groups())
    return float(hours * 3600 + minutes * 60)


def _condition(entry: Node) -> str:
    """Return the condition of the nearest `? :` around an entry."""
    node = entry
    while (parent := node.parent) is not None:
        if parent.type == "ternary_expression":
            condition = _source(parent.named_children[0])
            return condition if node == parent.named_children[1] else f"!{condition}"
        node = parent
    return ""


def _source(node: Node) -> str:
    return (node.text or b"").decode()
