"""The report as one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path
from string import Template

from loadtest.report.pipelines import PipelinesReport
from loadtest.report.report import Report
from loadtest.report.summary import act_lines, fault_lines, headline, pipelines_rows, rows
from loadtest.report.timeline import svg
from loadtest.verify.evidence import Transition

_PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light">
<title>Breakwater load test: $scenario</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff;
       max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.run { color: #555; margin: 0 0 1rem; }
.verdict { font-weight: 600; }
.kept { color: #17692b; }
.broken { color: #a3231a; }
figure { margin: 1rem 0; overflow-x: auto; }
figure svg { width: 100%; height: auto; }
table { border-collapse: collapse; }
th, td { padding: .3rem 1rem .3rem 0; border-bottom: 1px solid #e3e3e3; text-align: left;
         font-weight: 400; }
td.value { text-align: right; font-variant-numeric: tabular-nums; }
.history td { white-space: nowrap; }
pre { background: #f6f6f6; padding: 1rem; overflow-x: auto; }
</style>
</head>
<body>
$body
</body>
</html>
""")

_BODY = Template("""\
<$top>$heading</$top>
<p class="run">run $run, $instances, $partitions partitions</p>
<p class="verdict $outcome">$headline</p>
$broken
<figure role="img" aria-label="Timeline of throughput, failures and the circuit's state">
$picture
</figure>
$acts
<$sub>Figures</$sub>
<table>
$figures
</table>
<$sub>Circuit history</$sub>
$history
$faults
$diff
""")

_MARKS = {True: "✓", False: "✗", None: ""}


def render(report: Report | PipelinesReport) -> str:
    """Return the report as HTML."""
    name = f"Breakwater load test: {report.scenario}"
    if isinstance(report, Report):
        body = _body(report, "h1", "h2", name)
    else:
        body = _pipelines_body(report, name)
    return _PAGE.substitute(scenario=escape(report.scenario), body=body)


def _pipelines_body(report: PipelinesReport, name: str) -> str:
    """Return what concerns all pipelines, and a section for each."""
    verdict = report.verdict
    return "\n".join(
        [
            f"<h1>{escape(name)}</h1>",
            f'<p class="verdict {_outcome(passed=report.passed)}">'
            f"{escape(headline(report.broken))}</p>",
            _list(verdict.broken),
            f"<table>{_figures(pipelines_rows(report))}</table>",
            _diff(verdict.diff, "h2"),
            *(
                _body(part, "h2", "h3", f"Pipeline {pipeline}")
                for pipeline, part in report.parts.items()
            ),
        ]
    )


def _body(report: Report, top: str, sub: str, heading: str) -> str:
    """Return the sections of one pipeline, with the tags of its headings."""
    verdict = report.verdict
    return _BODY.substitute(
        top=top,
        sub=sub,
        heading=escape(heading),
        run=escape(report.run),
        instances=f"{report.instances} host process{'es' if report.instances != 1 else ''}",
        partitions=report.partitions,
        outcome=_outcome(passed=report.passed),
        headline=escape(headline(verdict.broken)),
        broken=_list(verdict.broken),
        picture=svg(report),
        figures=_figures(rows(report)),
        acts=_acts(report, sub),
        history=_history(report),
        faults=_faults(report, sub),
        diff=_diff(verdict.diff, sub),
    )


def write_page(report: Report | PipelinesReport, file: Path) -> None:
    """Write the report as HTML."""
    file.write_text(render(report))


def _outcome(*, passed: bool) -> str:
    return "kept" if passed else "broken"


def _figures(lines: Iterable[tuple[str, str, bool | None]]) -> str:
    return "\n".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="value">{escape(value)}</td>'
        f"<td>{_MARKS[kept]}</td></tr>"
        for name, value, kept in lines
    )


def _diff(lines: tuple[str, ...], sub: str) -> str:
    if not lines:
        return ""
    return f"<{sub}>Affected events</{sub}><pre>{escape(chr(10).join(lines))}</pre>"


def _list(lines: tuple[str, ...]) -> str:
    if not lines:
        return ""
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _acts(report: Report, sub: str) -> str:
    if not report.acts:
        return ""
    items = "".join(f"<li>{escape(line.partition(', ')[2])}</li>" for line in act_lines(report))
    return f"<{sub}>Acts</{sub}><ol>{items}</ol>"


def _history(report: Report) -> str:
    tables = [_transitions(report, report.history)]
    for name, history in report.dependencies.items():
        tables.append(f"<h3>Circuit of {escape(name)}</h3>{_transitions(report, history)}")
    return "".join(tables)


def _transitions(report: Report, history: Iterable[Transition]) -> str:
    lines = [
        f'<tr><td class="value">{report.offset(transition.at_us):.2f} s</td>'
        f"<td>{escape(transition.event.replace('_', '-'))}</td>"
        f"<td>generation {transition.generation}</td>"
        f"<td>{escape(transition.by)}</td></tr>"
        for transition in history
    ]
    if not lines:
        return "<p>The circuit stayed closed.</p>"
    return '<table class="history">' + "".join(lines) + "</table>"


def _faults(report: Report, sub: str) -> str:
    if not report.faults:
        return ""
    lines = (line.partition(". ")[2] for line in fault_lines(report))
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<{sub}>Injected faults (seed {report.seed})</{sub}><ol>{items}</ol>"
