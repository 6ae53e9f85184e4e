"""The page docs/fault-matrix.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tests.chain.dependency_judge import ASKED, CLOSED, DECIDED
from tests.chain.faults import Call, Strike
from tests.chain.happenings import Happening
from tests.chain.judge import STARTED, Verdict
from tests.chain.kinds import Kind
from tests.chain.matrix import Verdicts

PAGE = Path(__file__).parents[2] / "docs" / "fault-matrix.md"
BROKEN = "BROKEN"
_EVERY = "every outcome"
_GOOD = {
    Kind.APP: "started without help",
    Kind.MANUAL: "decided",
    Kind.AUTOMATIC: "closed without a decision or isolated",
    Kind.PIPELINE: "decided",
}
_COUNTS = re.compile(
    rf"(\d+) cells: (\d+) (?:{'|'.join(_GOOD.values())}), (\d+) asked, "
    r"(\d+) saved only by an alarm\."
)
_NEEDS_NO_HELP = {STARTED, DECIDED, CLOSED}
_MIXTURES = "several faults"

_HEAD = """\
# Fault matrix of the stop and the start

This page is written by `python -m tests.chain`. `make test-long` compares it with the whole matrix,
and `make test` with a fifth of the single faults of the app's circuit, a tenth of those of a
dependency's, and some of a pipeline's.

An opening of the app's circuit lets the workflow stop the function app. Promise C17: whatever
fails, an approval is asked for until somebody decides, or a metric alarm says that the app is left
stopped. An opening of a dependency's circuit, or of one of several pipelines, stops nothing: if the
dependency is *manual*, and for a *pipeline*, an approval is asked for until somebody decides, or a
metric alarm says that nobody is asked; if the dependency is *automatic*, its circuit closes by
itself, and the workflow makes no call. Each cell below is one run of the deployed chain with one or
more faults: the real `infra/workflow.json`, console API, circuits and approvals, on a simulated
platform and clock.

**Rows.** One call of the chain, its outcome, and the duration of the outcome:

- *4xx* (401, 403 or 404, whichever fits), *409* and *5xx*: the receiver refuses the call.
- *no answer*: the call has no effect and times out.
- *done after the time-out*: the caller has given up when the call takes effect.
- *done, answer lost*: the call takes effect at once, but the caller does not learn it.
- *first attempt*, *long* (45 minutes from the first attempt; two hours for a delivery, which
  Event Grid gives up after one hour; two minutes for an alert that would be published again and
  again), or *for good* (until an operator repairs the cause).

**Columns.** What happens at the first attempt: nothing; an operator approves, isolates the circuit
(and closes it hours later) or closes it; the circuit goes half-open by its timer; it is closed
and opens again as a newer generation; Redis loses all its data; the console is away for two hours;
the workflow's process restarts; Event Grid delivers the opening twice, and then an older opening.
After the time of the fault an operator approves or closes what the console shows.

**Cells of the app.** How the app ran again:

- *starts*: the app ran at the end without further help.
- *asks*: the app was stopped at the end, and a workflow run waited for an approval or a start. An
  operator repaired the cause, gave in the console what was asked for, and the app ran.
- The name of an alarm: nothing was registered, and this metric alarm of
  `infra/modules/alerts.bicep` fired after the stop. Alarms by log query and the alarm
  `circuit-opened`, which fires at each opening, do not count.

**Cells of a dependency or pipeline.** What was there after the fault, before the operator decided:

- *asks*: the circuit was open, and a workflow run waited for an approval.
- *decided*: the circuit was not open any more, because of what had happened, or Redis had lost it.
- *closes*: the circuit of an automatic dependency had closed by itself.
- The name of an alarm: the circuit was open and nobody was asked, and this metric alarm had fired.

Then an operator decided, the circuit closed, and every run of the workflow ended. None of these
cells has a stop or a start of the app. In each cell of a pipeline, the app's other pipeline was
isolated by hand before the opening: it stayed isolated unless Redis lost all its data, and no run
of the workflow was about it.

In each cell no run of an older opening starts the app while a newer one is open (a start that is
under way when the circuit opens cannot be taken back; the history then shows that start), and what
the mail, the page, the status and the history say agrees with what happened. A cell that only an
alarm saves has a console, a Redis or a workflow that does not work. The workflow accepts callbacks
before it has the answer to its subscription in every other cell, and refuses them in the others.

"""


def render_page(verdicts: Mapping[str, Verdicts]) -> str:
    """Return the whole page."""
    bodies = {title: render_part(cells) for title, cells in verdicts.items()}
    sections = "".join(f"\n## {title.capitalize()}\n\n{body}" for title, body in bodies.items())
    return head(sections) + sections


def head(sections: str) -> str:
    """Return the page's beginning, with the counts of all parts in a column for each kind."""
    counts: dict[str, tuple[int, int, int, int]] = {}
    for section in sections.split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        found = _COUNTS.search(body)
        assert found is not None, title
        cells, good, asked, alarmed = (int(each) for each in found.groups())
        counts[title] = (cells, good, asked, alarmed)
    lines = [f"| cells with a fault of | {' | '.join(Kind)} |", f"|---{'|---' * len(Kind)}|"]
    lines += [
        f"| {name} | {' | '.join(_summary(counts, kind, name) for kind in Kind)} |"
        for name in (*map(str, Call), _MIXTURES)
    ]
    total = sum(cells for cells, *_ in counts.values())
    note = (
        "Each cell of this table has the number of cells, and of those that ask or need an alarm."
    )
    return f"{_HEAD}In all, {total} cells. {note}\n\n" + "\n".join(lines) + "\n"


def _summary(counts: Mapping[str, tuple[int, int, int, int]], kind: Kind, name: str) -> str:
    """Return the sums of one kind over all parts whose title begins with a name."""
    before = (name if kind is Kind.APP else f"{kind}: {name}").capitalize()
    found = [each for title, each in counts.items() if title.startswith(before)]
    if not found:
        return "-"
    cells, _, asked, alarmed = (sum(column) for column in zip(*found, strict=True))
    return f"{cells}: {asked} ask, {alarmed} need an alarm"


def render_part(verdicts: Verdicts) -> str:
    """Return the body of a part: its sums, its table, and the cells that only an alarm saves."""
    ends = [verdict.end for _, verdict in verdicts]
    good, asked = sum(end in _NEEDS_NO_HELP for end in ends), ends.count(ASKED)
    word = _GOOD[verdicts[0][0].kind]
    alarmed = len(ends) - good - asked
    lines = [f"{len(ends)} cells: {good} {word}, {asked} asked, {alarmed} saved only by an alarm."]
    if all(len(cell.strikes) == 1 for cell, _ in verdicts):
        lines += ["", *_table(verdicts)]
    saved = [(cell, verdict) for cell, verdict in verdicts if not _is_saved(verdict)]
    if saved:
        lines += ["", "Saved only by an alarm:", "", *_saved(saved)]
    return "\n".join(lines) + "\n"


def _saved(verdicts: Verdicts) -> list[str]:
    """Return one line for each mixture of faults and alarm, with all its happenings."""
    lines: dict[str, list[str]] = {}
    for cell, verdict in verdicts:
        if len(cell.strikes) == 1:
            [strike] = cell.strikes
            key = f"- `{_word(verdict)}`: {_row(strike)}"
            lines.setdefault(key, []).append(strike.happening)
        else:
            mixture = " + ".join(f"{each.call}: {_outcome(each)}" for each in cell.strikes)
            lines[f"- `{_word(verdict)}`: {mixture}"] = []
    return [
        key if len(names) in {0, len(Happening)} else f"{key} ({', '.join(names)})"
        for key, names in lines.items()
    ]


def _is_saved(verdict: Verdict) -> bool:
    return verdict.end in _NEEDS_NO_HELP | {ASKED}


def _table(verdicts: Verdicts) -> list[str]:
    """Return the table of a call; rows with the same words are one row."""
    words: dict[str, list[str]] = {}
    for cell, verdict in verdicts:
        [strike] = cell.strikes
        words.setdefault(_row(strike), []).append(_word(verdict))
    rows: dict[tuple[str, ...], list[str]] = {}
    for name, row in words.items():
        rows.setdefault(tuple(row), []).append(name)
    lines = [
        f"| | {' | '.join(Happening)} |",
        f"|---{'|---' * len(Happening)}|",
    ]
    for cells, names in rows.items():
        name = _EVERY if len(rows) == 1 else "; ".join(names)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _row(strike: Strike) -> str:
    return f"{strike.outcome}, {strike.length}"


def _word(verdict: Verdict) -> str:
    if verdict.problems:
        return BROKEN
    words = {STARTED: "starts", ASKED: "asks", CLOSED: "closes"}
    return words.get(verdict.end, verdict.end)


def _outcome(strike: Strike) -> str:
    return f"{_row(strike)} ({strike.happening})"


def committed_part(title: str) -> str:
    """Return the body of a part of the committed page."""
    _, _, rest = PAGE.read_text().partition(f"\n## {title.capitalize()}\n\n")
    body, _, _ = rest.partition("\n## ")
    return body


def words_off_the_page(title: str, verdicts: Verdicts) -> list[str]:
    """Return the cells whose word differs from the one on the page; each cell has one fault."""
    rows = [
        [each.strip() for each in line.strip("|").split("|")]
        for line in committed_part(title).splitlines()
        if line.startswith("| ")
    ]
    columns, words = rows[0][1:], {}
    for names, *row in rows[1:]:
        for name in names.split("; "):
            words[name] = dict(zip(columns, row, strict=True))
    found = []
    for cell, verdict in verdicts:
        [strike] = cell.strikes
        row_words = words.get(_EVERY) or words[_row(strike)]
        if row_words[strike.happening] != _word(verdict):
            found.append(f"{cell}: {_word(verdict)}, not {row_words[strike.happening]}")
    return found
