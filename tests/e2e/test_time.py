"""CASES C and E: long lanes, blocked event loops and held interpreters, on real hosts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from processing.crashes.rules import ALONE_DEATHS_MAX
from tests.e2e.test_crash_loop import App
from tests.support.local.hosts import running_hosts
from tests.support.processes import running_stack

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

HANDLERS = "tests.support.handlers.standing"


@contextmanager
def running_app(
    directory: Path, monkeypatch: pytest.MonkeyPatch, handler: str, **settings: str
) -> Iterator[App]:
    """Run a stack with two partitions and these settings, without hosts."""
    log = directory / "calls"
    monkeypatch.setenv("ENDING_LOG", str(log))
    settings = {"EVENT_HANDLER": f"{HANDLERS}:{handler}"} | settings
    options = [part for pair in settings.items() for part in ("--set", "=".join(pair))]
    stack = running_stack(directory / "stack", "--no-console", "--partitions", "2", *options)
    with stack as endpoints:
        yield App(endpoints, log)


def test_lane_longer_than_the_function_timeout_is_handled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case H14: 60 events of 0.5 s in one lane, with 10 s for each invocation."""
    settings = {
        "AzureFunctionsJobHost__functionTimeout": "00:00:10",
        "PROCESSING_HANDLER_TIMEOUT_SECONDS": "1.5",
        "PROCESSING_HOLD_SECONDS": "1",
    }
    with running_app(tmp_path, monkeypatch, "handle", **settings) as app:
        app.send("0", *["wait:0.5"] * 60)
        events = [("0", number) for number in range(60)]
        with running_hosts(app.endpoints):
            app.wait_until_handled(*events)
            assert dict(app.calls("start")) == dict.fromkeys(events, 1)
        assert "Timeout value" not in app.hosts_log()
        assert "functionTimeout" in app.hosts_log()  # the error of each invocation names it
        assert app.poisoned() == {}


def test_blocked_loop_is_named_and_is_no_outage_of_redis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case H16: an async handler that blocks its event loop for 3 s, on 10 keys."""
    with running_app(tmp_path, monkeypatch, "handle") as app:
        app.send("0", *["block:3"] * 10)
        events = [("0", number) for number in range(10)]
        with running_hosts(app.endpoints, "--lease", "10", instances=2):
            app.wait_until_handled(*events)
        log = app.hosts_log()
        assert "Blocked loop: the event loop stands still (handler" in log
        assert "standing:handle, event 127.0.0.1" in log
        assert "whether Redis is running" not in log
        assert "nothing starts for up to" not in log


def test_held_interpreter_costs_its_partition_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case H15': the regex holds the interpreter; no other thread of its process runs."""
    settings = {
        "PROCESSING_WATCHDOG_SECONDS": "3",
        "PROCESSING_HANDLER_TIMEOUT_SECONDS": "2",
    }
    with running_app(tmp_path, monkeypatch, "handle_plain", **settings) as app:
        app.send("0", "regex", *["x"] * 5)
        app.send("1", *["x"] * 25)
        with running_hosts(app.endpoints, "--lease", "4", instances=2):
            app.wait_until_handled(*(("1", number) for number in range(25)))
            app.wait_until_handled(*(("0", number) for number in range(1, 6)))
            assert set(app.poisoned()) == {("0", 0)}
            # A host may take the partition over before its frozen owner ends. Then both die within
            # seconds, and these deaths do not count together. The first three begin careful mode.
            assert app.calls("start")["0", 0] <= 3 + ALONE_DEATHS_MAX
        log = app.hosts_log()
        assert "Blocked process: process" in log
        assert "in handler tests.support.handlers.standing:handle_plain and was ended" in log
        assert "/0/0/" in log.partition("it ran event ")[2].partition("\n")[0]
        assert "in handle_plain" in log
