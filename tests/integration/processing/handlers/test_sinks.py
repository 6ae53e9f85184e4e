"""The idempotent sinks in docs/examples: sql_sink and http_sink, in processes that are killed."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import secrets
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from breakwater.testing import event, run_async
from tests.conftest import EventHubsEndpoint
from tests.support.forked import Forked

EXAMPLES = Path(__file__).parents[4] / "docs" / "examples"
KILLED = -signal.SIGKILL
MOST_SECONDS = 60.0


@pytest.fixture
def settings(redis_url: str, azurite: str, event_hubs: EventHubsEndpoint) -> dict[str, str]:
    """Return the settings of an app whose hub no test reads."""
    return {
        "EventHubConnection": event_hubs.connection_string,
        "EVENT_HUB_NAME": "events",
        "EVENT_HUB_CONSUMER_GROUP": "$Default",
        "AzureWebJobsStorage": azurite,
        "REDIS_URL": redis_url,
        "POISON_QUEUE": f"poison-{secrets.token_hex(4)}",
        "BREAKER_NAME": f"sinks-{secrets.token_hex(4)}",
    }


@contextmanager
def running(bodies: list[Any], output: Path, environment: Mapping[str, str]) -> Iterator[Forked]:
    """Run a process that handles these bodies, as events of one partition, and ends."""
    process = Forked(
        "tests.support.processing.crash_child",
        json.dumps({"0": [json.dumps(body) for body in bodies]}),
        output=output,
        environment=os.environ | environment,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def code_of(bodies: list[Any], output: Path, environment: Mapping[str, str]) -> int:
    """Run such a process to its end, and return its exit code."""
    with running(bodies, output, environment) as process:
        return process.wait(MOST_SECONDS)


@pytest.mark.parametrize(
    ("dies", "balance"),
    [pytest.param("inside", [], marks=pytest.mark.long), ("after", [("alice", 3)])],
)
def test_payment_is_booked_once_by_a_process_that_is_killed(
    settings: dict[str, str], tmp_path: Path, dies: str, balance: list[Any]
) -> None:
    """Before the commit nothing is booked, and after it the next delivery changes nothing."""
    log, path = tmp_path / "log", tmp_path / "balances"
    settings |= {
        "EVENT_HANDLER": "tests.support.handlers.killed_sinks:Balances",
        "BALANCES": str(path),
    }
    bodies = [{"account": "alice", "cents": 3}]

    def booked() -> list[Any]:
        with closing(sqlite3.connect(path)) as database:
            return database.execute("SELECT account, cents FROM balances").fetchall()

    assert code_of(bodies, log, settings | {"DIES": dies}) == KILLED, log.read_text()
    assert booked() == balance
    bodies.append({"account": "alice", "cents": 4})
    assert code_of(bodies, log, settings) == 0, log.read_text()
    assert booked() == [("alice", 7)]


class Bank:
    """An API that does the work of each key once."""

    def __init__(self) -> None:
        self.charges: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.answers: dict[str, int] = {}
        self.kills: int | None = None

    async def charge(self, request: web.Request) -> web.Response:
        """Charge an account; then kill the caller, if the test asks for that."""
        key, body = request.headers["Idempotency-Key"], await request.json()
        self.requests[key] += 1
        if key not in self.answers:
            self.charges[body["account"]] += body["cents"]
            self.answers[key] = 201
            if self.kills is not None:
                os.kill(self.kills, signal.SIGKILL)
        return web.Response(status=self.answers[key])

    def app(self) -> web.Application:
        """Return the API's server."""
        app = web.Application()
        app.router.add_post("/charges", self.charge)
        return app


async def test_charge_is_made_once_by_a_process_that_is_killed_during_the_call(
    settings: dict[str, str], tmp_path: Path
) -> None:
    """The process dies after the bank has charged, and before the answer and the progress."""
    log, bank = tmp_path / "log", Bank()
    bodies = [{"account": "alice", "cents": 3}]
    async with TestServer(bank.app()) as server:
        settings |= {
            "EVENT_HANDLER": "tests.support.handlers.killed_sinks:Charges",
            "BANK_URL": str(server.make_url("/")),
        }
        with running(bodies, log, settings) as killed:
            bank.kills = killed.pid
            code = await asyncio.to_thread(killed.wait, MOST_SECONDS)
        assert code == KILLED, log.read_text()
        assert bank.charges == {"alice": 3}
        bank.kills = None
        bodies.append({"account": "bob", "cents": 4})
        code = await asyncio.to_thread(code_of, bodies, log, settings)
        assert code == 0, log.read_text()
    assert bank.charges == {"alice": 3, "bob": 4}
    assert sorted(bank.requests.values()) == [1, 2]


@pytest.fixture
def http_sink(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield importlib.import_module("http_sink")
    sys.modules.pop("http_sink", None)


@pytest.mark.parametrize(("status", "state"), [(409, "deferred"), (422, "poisoned")])
async def test_answers_about_the_key_keep_or_poison_the_event(
    http_sink: Any, status: int, state: str
) -> None:
    """409: the first request still runs. 422: the key was used for another request."""
    bank, charge = Bank(), event({"account": "alice", "cents": 3}, key="alice")
    bank.answers[charge.id] = status
    async with TestServer(bank.app()) as server:
        settings = {"BANK_URL": str(server.make_url("/"))}
        outcome = await run_async(http_sink.Charges, [charge], settings=settings)
    assert outcome.of(charge).state == state, str(outcome)
    assert bank.charges == {}
