"""The report as JSON, table, picture and page.

The tests import what draws, because matplotlib is slow to import in each process of the run.
"""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from loadtest.arguments import parse
from loadtest.faults.chaos import FaultDone
from loadtest.faults.downstream import Act
from loadtest.plan.chaos import FaultKind
from loadtest.plan.settings import Settings
from loadtest.report.files import write
from loadtest.report.report import stopped_spans
from loadtest.report.summary import fault_lines, show
from loadtest.verify.metrics import measure, percentile
from loadtest.verify.verdict import CircuitVerdict, OthersVerdict
from tests.support.loadtest.finished_run import (
    BASE_US,
    HISTORY,
    entry,
    judge,
    ledgers,
    outage_workload,
    report,
)

PROMISED = {
    "sent": int,
    "keys": int,
    "handled": int,
    "poisoned": int,
    "parked": int,
    "lost": int,
    "duplicates": int,
    "order_violations": int,
    "circuit": {
        "opened": int,
        "alerts": int,
        "stop_seconds": float,
        "started_while_open": int,
        "calls_while_open": int,
        "resumed": bool,
    },
    "seconds": float,
    "send_seconds": float,
    "process_seconds": float,
    "events_per_second": float,
    "latency_ms": {"p50": float, "p99": float},
}


def check(document: object, promised: object, path: str = "report") -> None:
    """Assert that the document has each promised field with its type."""
    if isinstance(promised, dict):
        assert isinstance(document, dict), path
        for name, kind in promised.items():
            assert name in document, f"{path}.{name}"
            check(document[name], kind, f"{path}.{name}")
    else:
        assert type(document) is promised, f"{path} is {document!r}"


def test_json_has_every_promised_field(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "report.json"
    file.parent.mkdir()
    write(report(), Settings(report=file))
    document = json.loads(file.read_text())
    check(document, PROMISED)
    assert document["passed"] is True
    assert document["circuit"]["opened"] == 1
    assert document["circuit"]["history"][1]["by"] == "loadtest"
    assert document["broken"] == document["diff"] == []
    names = {path.name for path in file.parent.iterdir()}
    assert names == {"report.json", "report.html", "report.png"}, "no temporary file is left"


def test_json_only_writes_no_page_and_no_picture(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    settings = parse(["run", "--report", str(file), "--json-only"])
    assert isinstance(settings, Settings)
    assert write(report(), settings) == {"report": file}
    assert list(tmp_path.iterdir()) == [file]


def test_broken_promise_is_in_json_table_and_page() -> None:
    from loadtest.report.page import render

    found = ledgers(outage_workload())
    found["key-2"].pop(3)
    broken = report(verdict=judge(found=found))
    assert broken.to_dict()["passed"] is False
    assert broken.to_dict()["diff"] == ["lost: key-2 #4"]
    text = StringIO()
    show(broken, Console(file=text, width=100))
    assert "✗ 1 events were lost" in text.getvalue()
    assert "lost: key-2 #4" in text.getvalue()
    assert "lost: key-2 #4" in render(broken)


def test_table_shows_the_figures() -> None:
    text = StringIO()
    show(report(kills=1), Console(file=text, width=100))
    shown = text.getvalue()
    for part in ("40 events, 4 keys", "40 of 40", "once, alerts: 1", "8.5 s", "Every promise"):
        assert part in shown


def test_picture_is_not_empty(tmp_path: Path) -> None:
    import matplotlib.image

    written = write(report(), Settings(report=tmp_path / "report.json"))
    assert written["page"].exists()
    pixels = matplotlib.image.imread(written["picture"])
    assert pixels.shape[0] > 400
    assert pixels.shape[1] > 800
    assert pixels[..., :3].std() > 0.05, "the picture is not blank"


def test_run_without_handled_events_can_be_drawn() -> None:
    from loadtest.report.timeline import svg

    nothing = report(metrics=measure([]), samples=(), history=(), verdict=judge(found={}))
    assert "<svg" in svg(nothing)
    assert nothing.to_dict()["latency_ms"] == {"p50": None, "p99": None}


def test_svg_is_well_formed_and_shades_the_circuit_states() -> None:
    from loadtest.report.page import render
    from loadtest.report.timeline import svg

    picture = svg(report())
    ET.fromstring(picture)  # noqa: S314 - our own output
    for label in ("circuit open", "half-open", "threshold (100)", "function app stopped"):
        assert label in picture
    assert "<td>half-opened</td>" in render(report())


def test_faults_are_listed_with_their_times_and_marked_in_the_picture() -> None:
    from loadtest.report.page import render
    from loadtest.report.timeline import svg

    faults = (
        FaultDone(FaultKind.HOST_KILLED, BASE_US + 1_000_000, None, "instance 0 (42)"),
        FaultDone(FaultKind.REDIS_PAUSED, BASE_US + 2_000_000, BASE_US + 4_500_000, "pid 7"),
    )
    it = report(faults=faults, seed=7)
    assert it.to_dict()["seed"] == 7
    assert it.to_dict()["faults"][1] == {
        "kind": "Redis paused",
        "at_seconds": 2.0,
        "until_seconds": 4.5,
        "detail": "pid 7",
    }
    lines = [
        "1. 1.0 s: host killed (instance 0 (42))",
        "2. 2.0 s to 4.5 s: Redis paused (pid 7)",
    ]
    assert fault_lines(it) == lines
    text = StringIO()
    show(it, Console(file=text, width=100))
    assert all(line in text.getvalue() for line in lines)
    assert "faults (seed 7)" in text.getvalue()
    assert "host killed (instance 0 (42))" in render(it)
    picture = svg(it)
    ET.fromstring(picture)  # noqa: S314 - our own output
    assert "fault" in picture


def test_page_is_self_contained_and_escapes_names() -> None:
    from loadtest.report.page import render

    page = render(report(scenario="<outage>"))
    assert "<outage>" not in page, "names are escaped"
    assert "&lt;outage&gt;" in page
    for reference in ("<script", "<link", "src=", "@import"):
        assert reference not in page


def test_state_spans_come_from_the_history() -> None:
    from loadtest.report.timeline import state_spans

    found = list(state_spans(report(), 12.0, HISTORY))
    assert found == [("open", 1.0, 9.0), ("half_open", 9.0, 9.5)]
    assert list(state_spans(report(), 12.0, HISTORY[:1])) == [("open", 1.0, 12.0)]
    assert list(stopped_spans(report())) == [(1.5, 8.75)]


def test_acts_and_dependencies_are_in_json_table_picture_and_page() -> None:
    from loadtest.report.page import render
    from loadtest.report.timeline import svg

    acts = (
        Act("all keys wait", BASE_US + 1_000_000, BASE_US + 9_000_000),
        Act("the bank is away", BASE_US + 9_600_000, BASE_US + 9_900_000),
    )
    verdict = replace(
        judge(),
        dependencies={"bank": CircuitVerdict(opened=1, alerts=1, resumed=True)},
        others=OthersVerdict(judged=9, while_open=7),
    )
    it = report(verdict=verdict, dependencies={"bank": HISTORY}, acts=acts)
    document = it.to_dict()
    assert document["acts"][1] == {
        "title": "the bank is away",
        "at_seconds": 9.6,
        "until_seconds": 9.9,
    }
    assert document["dependencies"]["bank"]["opened"] == 1
    assert [each["event"] for each in document["dependencies"]["bank"]["history"]] == [
        each.event for each in HISTORY
    ]
    assert document["others"]["while_open"] == 7
    text = StringIO()
    show(it, Console(file=text, width=120))
    assert "circuit of bank" in text.getvalue()
    assert "opened once, closed at the end" in text.getvalue()
    assert "act 1, 1.0 s to 9.0 s: all keys wait" in text.getvalue()
    page = render(it)
    assert "<h2>Acts</h2><ol><li>1.0 s to 9.0 s: all keys wait</li>" in page
    assert "<h3>Circuit of bank</h3>" in page
    assert "bank: circuit open" in svg(it)


def test_metrics_come_from_the_times_in_the_ledgers() -> None:
    start = BASE_US
    entries = [entry(0, counter + 1, start + counter * 10_000) for counter in range(101)]
    metrics = measure([("a", entries), ("b", [])])
    assert metrics.process_seconds == 1.0
    assert metrics.events_per_second == 101.0
    assert metrics.peak_events_per_second == 100.0
    assert metrics.latency_p50_ms == 500.0
    assert metrics.latency_p99_ms == 990.0
    assert sum(metrics.handled_by_bin.values()) == 101


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1.0), (50, 2.0), (75, 3.0), (99, 4.0), (100, 4.0)]
)
def test_percentiles_are_nearest_rank(percent: int, expected: float) -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], percent) == expected
