"""docs/use-in-your-app.md, followed to the letter in an empty directory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from breaker.configuration.version import VERSION
from scripts.load_app import SETTINGS

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "use-in-your-app.md").read_text()
WORKER = """
import asyncio, json, os, sys
from pathlib import Path
from scripts.load_app import SETTINGS, _functions
os.environ |= SETTINGS | {"EVENT_HANDLER": "orders:handle", "AzureWebJobsScriptRoot": os.getcwd()}
print(json.dumps([each["name"] for each in asyncio.run(_functions(Path.cwd()))]))
"""

FAILURES = """
import logging, sys
from breakwater.testing import event, run
from orders import handle
logging.basicConfig(stream=sys.stdout)
run(handle, [event("oops", key="bob"), event("{}", key="bob")])
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty directory with the files of the document."""
    directory = tmp_path_factory.mktemp("app")
    for code, name in re.findall(r"```python\n(# (\S+\.py)\n.*?)```", DOCUMENT, re.DOTALL):
        (directory / name).write_text(code)
    (host,) = re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
    (directory / "host.json").write_text(host)
    return directory


def run(app: Path, *arguments: str) -> str:
    """Run Python in the app's directory, where only the packages are on the path."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=app,
        env={"PATH": os.environ["PATH"], "HOME": str(app), "PYTHONPATH": f"{app}:{ROOT}"},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_document_has_the_files(app: Path) -> None:
    assert sorted(path.name for path in app.iterdir()) == [
        *("function_app.py", "host.json", "orders.py", "send.py", "test_orders.py")
    ]


def test_worker_finds_the_functions_of_the_document(app: Path) -> None:
    """The table of the document lists what Microsoft's worker library indexes."""
    found = set(json.loads(run(app, "-c", WORKER)))
    table = set(re.findall(r"^\| `(breakwater_\w+)` \|", DOCUMENT, re.MULTILINE))
    assert found == table | {"order"}


def test_tests_of_the_document_pass(app: Path) -> None:
    assert "2 passed" in run(app, "-m", "pytest", "-q", "-p", "no:cacheprovider")


def test_lines_of_the_document_name_the_code(app: Path) -> None:
    """The document quotes the lines that the warnings about its two bad events name."""
    logged = run(app, "-c", FAILURES)
    quoted = re.findall(r"at orders\.py:\d+ handle", DOCUMENT)
    assert re.findall(r"at orders\.py:\d+ handle", logged) == quoted
    assert len(quoted) == 2


def test_document_names_the_wheel_of_this_version() -> None:
    assert f"\n./breakwater-{VERSION}-py3-none-any.whl\n" in DOCUMENT


def test_levels_of_the_document_name_its_functions() -> None:
    (host,) = re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
    levels = json.loads(host)["logging"]["logLevel"]
    for name in ("breakwater_deliver_alerts", "breakwater_replay_deferred"):
        assert levels[f"Function.{name}"] == "Warning"
    assert SETTINGS.keys() & {"EVENT_HUB_NAME", "EVENT_HUB_CONSUMER_GROUP", "REDIS_URL"}


@pytest.mark.long
def test_code_of_the_document_passes_mypy_strict(app: Path) -> None:
    """A user's code is checked against the packages' own types."""
    cache = str(app / ".mypy_cache")
    run(app, "-m", "mypy", "--strict", "--cache-dir", cache, "orders.py", "test_orders.py")
    run(app, "-m", "mypy", "--strict", "--cache-dir", cache, "function_app.py")
