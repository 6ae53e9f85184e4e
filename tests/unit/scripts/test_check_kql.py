"""scripts/check_kql.mjs accepts the alarms' queries, and names an alarm whose query is wrong."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from scripts.check_infra.alarms import read_queries
from scripts.check_infra.queries import ALERTS

ROOT = Path(__file__).parents[3]
QUERIES = read_queries(ALERTS)

needs_kusto = pytest.mark.skipif(
    not (ROOT / "node_modules" / "@kusto" / "language-service-next").is_dir(),
    reason="the npm packages of `make lint` are not installed",
)


def check(queries: object) -> subprocess.CompletedProcess[str]:
    """Run the check on queries by alarm."""
    return subprocess.run(
        ["node", "scripts/check_kql.mjs"],  # noqa: S607
        cwd=ROOT,
        input=json.dumps(queries),
        capture_output=True,
        text=True,
        check=False,
    )


@needs_kusto
@pytest.mark.long  # `make lint` runs the same check of the same queries
def test_queries_of_the_template_are_accepted() -> None:
    checked = check(QUERIES)
    assert checked.returncode == 0, checked.stderr
    assert f"{len(QUERIES)} queries" in checked.stdout


WRONG_NAMES = {
    "lag-growing": ("Max >", "Maximum >"),
    "hub-unread": ("sumif(Total,", "sumif(Sum,"),
    "stop-failed": ("resource_runId_s", "resource_runID_s"),
    "poison-arrived": (", AppMetrics", ", AppMetric"),
}
"""An alarm of each table, with a name of its query and a name that does not exist."""


@needs_kusto
@pytest.mark.long
def test_only_the_queries_with_an_unknown_name_are_refused() -> None:
    """All are in one check, because the language service takes seconds to start."""
    wrong = {}
    for alarm, (old, new) in WRONG_NAMES.items():
        assert old in QUERIES[alarm]
        wrong[alarm] = QUERIES[alarm].replace(old, new)
    checked = check(QUERIES | wrong)
    assert checked.returncode == 1
    assert re.findall(r"^alarm (\S+): The (?:fuzzy )?name '", checked.stderr, re.MULTILINE) == [
        alarm for alarm in QUERIES if alarm in wrong
    ]
    assert checked.stderr.count("alarm ") == len(wrong)


@needs_kusto
@pytest.mark.long  # the language service takes seconds to start
def test_empty_list_of_queries_is_refused() -> None:
    checked = check({})
    assert checked.returncode == 1
    assert checked.stderr == "there are no queries to check\n"


def test_only_the_alarms_have_queries() -> None:
    """A query in another file would not be checked."""
    table = re.compile(r"\b(App[A-Z]\w+|Azure(Metrics|Diagnostics|Activity))\s*\\?n?\s*\|")
    files = [file for file in (ROOT / "infra").rglob("*") if file.suffix in {".bicep", ".json"}]
    assert [file for file in files if table.search(file.read_text())] == [ALERTS]
    text = ALERTS.read_text()
    assert len(table.findall(text)) + text.count("'${appMetrics} | ") == len(QUERIES)
