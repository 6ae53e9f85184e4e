"""The operator's command line, run as a process on a real Redis."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from breaker import (
    BreakerSettings,
    CircuitBreaker,
    Mode,
    Permit,
    Recovery,
    RedisCircuitStore,
)
from breaker.configuration.version import VERSION
from breaker.notes import Report
from tests.support.forked import run_module_async
from tests.support.patience import HANG_SECONDS, STORE_SECONDS

ROOT = Path(__file__).parents[3]


async def cli(*arguments: str, **settings: str) -> tuple[int, str, str]:
    """Run the command line and return exit code, output and errors."""
    ended = await run_module_async("breaker", *arguments, environment=environment(settings))
    return ended.returncode, ended.stdout, ended.stderr


def environment(settings: dict[str, str]) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BREAKER_")}
    patient = {"BREAKER_STORE_TIMEOUT_SECONDS": f"{STORE_SECONDS}"}
    return {**clean, "BREAKER_NAME": "c", **patient, **settings}


async def start(*arguments: str, **settings: str) -> asyncio.subprocess.Process:
    """Start the command line as a terminal does, with SIGINT not ignored.

    A shell ignores SIGINT for background commands, and child processes inherit this. Without the
    reset, a test run with `&` would wait forever for its child.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "breaker", *arguments),
            cwd=ROOT,
            env=environment(settings),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    finally:
        signal.signal(signal.SIGINT, before)


async def poll(redis_url: str, name: str = "c", **settings: Any) -> None:
    """Poll a circuit once as an instance of the app, so that the circuit is known."""
    rules = BreakerSettings(name=name, **settings)
    store = RedisCircuitStore(redis_url, name, timeout_seconds=STORE_SECONDS)
    async with CircuitBreaker(store, rules, instance="app:1"):
        pass


async def open_it(redis_url: str) -> None:
    settings = BreakerSettings(name="c", failure_threshold=1)
    store = RedisCircuitStore(redis_url, "c", timeout_seconds=STORE_SECONDS)
    breaker = CircuitBreaker(store, settings, instance="app:1")
    await breaker.record_failure("a", "boom", Permit(0))
    await breaker.aclose()


async def test_cli_shows_approves_closes_and_isolates(redis_url: str) -> None:
    """All commands work in turn, and the history has each change."""
    await open_it(redis_url)
    code, out, _ = await cli("status", REDIS_URL=redis_url)
    assert code == 0
    assert "state      open (generation 1)" in out
    assert "reason     1 failures within 30 s (threshold 1); last error: boom" in out
    code, out, err = await cli("approve", "--generation", "1", "--by", "ann", REDIS_URL=redis_url)
    assert (code, err) == (0, "")
    assert "c: half_open, generation 1" in out
    code, out, _ = await cli(
        *("close", "--generation", "1", "--by", "bob", "--reason", "repaired"), REDIS_URL=redis_url
    )
    assert code == 0
    code, out, _ = await cli("history", "--json", REDIS_URL=redis_url)
    events = [json.loads(line) for line in out.splitlines()]
    assert [(event["event"], event["by"], event["reason"]) for event in events] == [
        ("opened", "", "1 failures within 30 s (threshold 1); last error: boom"),
        ("approved", "ann", ""),
        ("half_opened", "ann", "approved by ann"),
        ("closed", "bob", "repaired"),
    ]
    code, out, _ = await cli("history", "--limit", "1", REDIS_URL=redis_url)
    assert "closed by bob: repaired" in out
    code, out, _ = await cli("isolate", "--reason", "night", "--by", "ann", REDIS_URL=redis_url)
    assert (code, "c: isolated, generation 2" in out) == (0, True)
    assert out.endswith("\n`close --generation 2` ends the isolation\n")


async def test_isolation_with_an_end_is_shown(redis_url: str) -> None:
    """`isolate`, `status` and `history` say when the isolation ends, and what follows."""
    await poll(redis_url)
    act = ("isolate", "--for", "1h30m", "--reason", "release 12", "--by", "ann")
    code, out, _ = await cli(*act, REDIS_URL=redis_url)
    assert (code, "c: isolated, generation 1" in out) == (0, True)
    assert "release 12 (for 1h30m)" in out
    _, out, _ = await cli("status", REDIS_URL=redis_url)
    assert re.search(
        r"next state closed in 1h(29m\d+s|30m) \(\d{4}-.*Z\); "
        r"`close --generation 1` ends the isolation earlier",
        out,
    )
    _, out, _ = await cli("status", "--json", REDIS_URL=redis_url)
    status = json.loads(out)
    assert status["resume_at"] == pytest.approx(status["changed_at"] + 5_400)
    assert (status["ends_as"], status["mode"]) == ("closed", "enforce")
    _, out, _ = await cli("history", REDIS_URL=redis_url)
    assert "isolated by ann: release 12 (for 1h30m)" in out
    await cli("isolate", "--for", "2m", "--reason", "sooner", REDIS_URL=redis_url)
    _, out, _ = await cli("status", REDIS_URL=redis_url)
    assert re.search(r"next state closed in (2m|1m\d+s) ", out)


async def test_isolation_of_an_open_circuit_says_that_somebody_will_be_asked(
    redis_url: str,
) -> None:
    """The end of such an isolation is a new opening."""
    await open_it(redis_url)
    act = ("isolate", "--for", "2h", "--reason", "wait for the bank", "--by", "ann")
    _, out, _ = await cli(*act, REDIS_URL=redis_url)
    assert "\nopen, which asks for an approval, in 2h (" in out


def instance(redis_url: str, name: str, **settings: Any) -> CircuitBreaker:
    """Return an instance of the app; an instance that is not polling counts for 15 s only."""
    store = RedisCircuitStore(redis_url, "c", timeout_seconds=STORE_SECONDS)
    return CircuitBreaker(store, BreakerSettings(name="c", **settings), instance=name)


async def test_status_shows_the_settings_of_the_app(redis_url: str) -> None:
    """The terminal's settings may differ; the window is read by the app's rules, too."""
    rules: dict[str, Any] = {
        "failure_threshold": 7,
        "window_seconds": 600.0,
        "recovery": Recovery.AUTOMATIC,
    }
    async with (
        instance(redis_url, "app:1", **rules) as app,
        instance(redis_url, "app:2", **rules),
    ):
        await app.record_failure("a", "boom", Permit(0))
        other = {"BREAKER_FAILURE_THRESHOLD": "2", "BREAKER_WINDOW_SECONDS": "1"}
        _, out, _ = await cli("status", REDIS_URL=redis_url, **other)
        assert "failures   1 of 7 in 600 s" in out
        assert re.search(rf"instances  app:[12], app:[12] \(version {VERSION}\)", out)
        _, out, _ = await cli("status", "--json", REDIS_URL=redis_url, **other)
    shown = json.loads(out)
    assert (shown["failure_threshold"], shown["recovery"]) == (7, "automatic")
    assert (sorted(shown["instances"]), shown["differences"]) == (["app:1", "app:2"], {})


async def test_status_names_settings_that_differ(redis_url: str) -> None:
    async with (
        instance(redis_url, "app:1", failure_threshold=7),
        instance(redis_url, "app:2", failure_threshold=9),
    ):
        _, out, _ = await cli("status", REDIS_URL=redis_url)
    line = out.partition("\nThe instances differ in failure_threshold: ")[2].partition("\n")[0]
    assert sorted(line.split("; ")) == ["7 on app:1", "9 on app:2"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("history",),
        ("approve", "--generation", "1"),
        ("close", "--generation", "1"),
        ("status", "--dependency", "bank"),
        ("isolate", "--reason", "x", "--dependency", "bank"),
    ],
)
async def test_unknown_circuit_is_refused(redis_url: str, arguments: tuple[str, ...]) -> None:
    """A circuit that no instance polls is not closed; a typing error would look like peace."""
    await poll(redis_url, "orders")
    code, out, err = await cli(*arguments, REDIS_URL=redis_url, BREAKER_NAME="order")
    assert (code, out) == (1, "")
    assert "no instance has registered a circuit 'order' in this Redis" in err
    assert "known circuits: orders. BREAKER_NAME, or that of the pipeline, and REDIS_URL" in err


async def test_watch_begins_in_an_outage() -> None:
    """The command starts while Redis is down, and waits for the end of the outage."""
    process = await start("status", "--watch", REDIS_URL="redis://127.0.0.1:1/0")
    assert process.stdout is not None
    async with asyncio.timeout(HANG_SECONDS):
        lines = [(await process.stdout.readline()).decode() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        await process.communicate()
    unknown = "state      not known, because Redis does not answer; each change will be shown\n"
    assert (lines, process.returncode) == (["circuit    c\n", unknown], 130)


async def test_status_says_that_the_mode_is_observe(redis_url: str) -> None:
    """An operator must not believe that the circuit protects anything."""
    await poll(redis_url, mode=Mode.OBSERVE)
    _, out, _ = await cli("status", REDIS_URL=redis_url)
    assert "mode       observe: no rule opens the circuit" in out
    await poll(redis_url)
    _, out, _ = await cli("status", REDIS_URL=redis_url, BREAKER_MODE="observe")
    assert "observe" not in out


async def test_status_opens_no_circuit_that_stands_still(redis_url: str) -> None:
    """The command line may not know that the app's mode is observe."""
    settings = BreakerSettings(name="c", mode=Mode.OBSERVE)
    silent = replace(settings, standstill_failures=0).rules("app:1")
    async with aclosing(RedisCircuitStore(redis_url, "c", timeout_seconds=STORE_SECONDS)) as store:
        await store.report(silent, Report("r", succeeded=True, success_age=400.0))
        failed = Report("s", failed_attempts=20, attempts_age=399.0, keys=("k", "l"))
        await store.report(silent, replace(failed, running=("k",)))
        _, out, _ = await cli("status", REDIS_URL=redis_url)
        assert "state      closed (generation 0)" in out
        await store.report(silent, Report("s", running=("k",)))  # the command may have taken long
        assert (await store.snapshot(settings.rules("app:1"))).would_open


async def test_history_without_changes_says_so(redis_url: str) -> None:
    """A new circuit's history is one line for people and empty as JSON."""
    await poll(redis_url)
    assert await cli("history", REDIS_URL=redis_url) == (0, "No changes\n", "")
    assert await cli("history", "--json", REDIS_URL=redis_url) == (0, "", "")


async def test_history_does_not_repeat_the_default_reason(redis_url: str) -> None:
    """A close without a reason shows the operator's name once."""
    await open_it(redis_url)
    await cli("close", "--generation", "1", "--by", "bob", REDIS_URL=redis_url)
    _, out, _ = await cli("history", "--limit", "1", REDIS_URL=redis_url)
    assert out.count("closed by bob") == 1


@pytest.mark.parametrize("command", ["approve", "close"])
async def test_stale_generation_is_refused(redis_url: str, command: str) -> None:
    """C7: the message has the current generation."""
    await open_it(redis_url)
    code, out, err = await cli(command, "--generation", "7", "--by", "ann", REDIS_URL=redis_url)
    assert (code, out) == (1, "")
    assert (
        "generation 7 of circuit 'c' is not the current one; the circuit is open in generation 1"
        in err
    )


@pytest.mark.parametrize(
    ("arguments", "settings", "says"),
    [
        (["status"], {}, "REDIS_URL is not set"),
        (["status"], {"REDIS_URL": "http://x"}, "REDIS_URL cannot be used"),
        (["status"], {"REDIS_URL": "redis://x?ssl_ca_cert=f"}, "it has no option 'ssl_ca_cert'"),
        (
            ["isolate", "--reason", "x", "--by", " "],
            {"REDIS_URL": "redis://x"},
            "'--by': it is",
        ),
        (
            ["isolate"],
            {"REDIS_URL": "redis://x"},
            "missing option '--reason'",
        ),
        (
            ["isolate", "--reason", " "],
            {"REDIS_URL": "redis://x"},
            "'--reason': it is empty",
        ),
        (
            ["isolate", "--reason", "x", "--for", "2"],
            {"REDIS_URL": "redis://x"},
            "'--for': '2' is not a length of time: it takes 90s, 30m, 2h, 1d or 1h30m",
        ),
        (
            ["status"],
            {"REDIS_URL": "redis://x", "EVENT_GRID_TOPIC_ENDPOINT": "http://["},
            "EVENT_GRID_TOPIC_ENDPOINT is 'http://['",
        ),
        (["approve"], {"REDIS_URL": "redis://x"}, "--generation"),
        (["approve", "--generation", "x"], {"REDIS_URL": "redis://x"}, "'x' is not a whole number"),
        (["status"], {"REDIS_URL": "redis://x", "BREAKER_NAMES": "c"}, "did you mean BREAKER_NAME"),
        (["status", "--settings", "nowhere.json"], {}, "nowhere.json cannot be read"),
        (["status", "--settings", "README"], {}, "README is not JSON: line 1, column 1"),
    ],
)
async def test_invalid_arguments_and_settings_exit_with_2(
    arguments: list[str], settings: dict[str, str], says: str, tmp_path: Path
) -> None:
    """The message has the reason, and there is no traceback."""
    (tmp_path / "README").write_text("not JSON")
    arguments = [str(tmp_path / "README") if word == "README" else word for word in arguments]
    code, out, err = await cli(*arguments, **settings)
    assert (code, out) == (2, "")
    assert says in err
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [["status"], ["history"], ["approve", "--generation", "1"]])
async def test_unreachable_redis_exits_with_1(arguments: list[str]) -> None:
    """The message is short, without a traceback."""
    code, _, err = await cli(*arguments, REDIS_URL="redis://127.0.0.1:1/0")
    assert code == 1
    assert "Redis" in err
    assert "Traceback" not in err


async def test_status_shows_reason_of_redis_error_without_password(redis_url: str) -> None:
    """A refused password is reported, but not printed."""
    address = redis_url.removeprefix("redis://")
    code, _, err = await cli("status", REDIS_URL=f"redis://nobody:hidden@{address}")
    assert code == 1
    assert "invalid username-password pair" in err
    assert "hidden" not in err


async def test_settings_are_read_from_file(redis_url: str, tmp_path: Path) -> None:
    """The CLI reads the function app's local.settings.json."""
    file = tmp_path / "local.settings.json"
    file.write_text(json.dumps({"Values": {"REDIS_URL": redis_url, "BREAKER_NAME": "orders"}}))
    await poll(redis_url, "orders")
    code, out, _ = await cli("status", "--json", "--settings", str(file))
    assert code == 0
    shown: dict[str, Any] = json.loads(out)
    assert (shown["name"], shown["state"], shown["generation"]) == ("orders", "closed", 0)


async def test_watch_prints_changes_until_interrupted(redis_url: str) -> None:
    """With --json each change is one JSON object."""
    await poll(redis_url)
    process = await start("status", "--watch", "--json", REDIS_URL=redis_url)
    assert process.stdout is not None
    async with asyncio.timeout(HANG_SECONDS):
        assert json.loads(await process.stdout.readline())["state"] == "closed"
        await open_it(redis_url)
        shown = {"state": "closed"}
        while shown["state"] == "closed":
            shown = json.loads(await process.stdout.readline())
        assert shown["state"] == "open"
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert (process.returncode, err) == (130, b"")


async def test_approve_calls_registered_callback_once(redis_url: str) -> None:
    """The CLI calls a callback that another process registered."""
    calls: list[Any] = []

    async def callback(request: web.Request) -> web.Response:
        calls.append((request.query_string, await request.json()))
        return web.Response()

    application = web.Application()
    application.router.add_post("/callback", callback)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        await open_it(redis_url)
        store = RedisCircuitStore(redis_url, "c", timeout_seconds=STORE_SECONDS)
        breaker = CircuitBreaker(store)
        assert not await breaker.approvals.register(1, f"{site.name}/callback?sig=s")
        await breaker.aclose()
        for _ in range(2):
            code, _, _ = await cli("approve", "--generation", "1", REDIS_URL=redis_url, USER="ann")
            assert code == 0
    finally:
        await runner.cleanup()
    assert [(query, body["generation"], body["state"]) for query, body in calls] == [
        ("sig=s", 1, "half_open")
    ]
