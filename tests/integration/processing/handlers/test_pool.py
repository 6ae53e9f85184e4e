"""The deployed app in a host process of its own: the handler's pool is opened and closed once."""

from __future__ import annotations

import json
import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from local.services.child import REPOSITORY
from tests.conftest import EventHubsEndpoint
from tests.support.forked import Forked
from tests.support.local.event_hubs_trigger import Trigger, event_hubs_trigger
from tests.support.local.functions_host import HostProcess
from tests.support.processes import wait_for

HANDLERS = "tests.support.handlers.pooled"


class Running:
    """The app in a host, and the files that its handler reads and writes."""

    def __init__(self, trigger: Trigger, folder: Path, redis_url: str) -> None:
        self.trigger = trigger
        self.folder = folder
        self.log = folder / "alone.log"
        self.settings = {
            "EVENT_HUB_NAME": trigger.hub,
            "EVENT_HUB_CONSUMER_GROUP": "$Default",
            "REDIS_URL": redis_url,
            "POISON_QUEUE": f"poison-{secrets.token_hex(4)}",
            "BREAKER_NAME": f"pool-{secrets.token_hex(4)}",
            "POOLED_FOLDER": str(folder),
        }

    def start(self, handler: str = "Pooled") -> HostProcess:
        name = f"{HANDLERS}:{handler}"
        return self.trigger.hosts.start(REPOSITORY, EVENT_HANDLER=name, **self.settings)

    def start_alone(self, *bodies: str) -> Forked:
        """Start a process without a host, which handles these events of partition 0."""
        return Forked(
            "tests.support.processing.crash_child",
            json.dumps({"0": bodies}),
            output=self.log,
            environment=os.environ
            | self.settings
            | {
                "AzureWebJobsStorage": self.trigger.storage,
                "EventHubConnection": self.trigger.endpoint.connection_string,
                "EVENT_HANDLER": f"{HANDLERS}:Pooled",
            },
        )

    def send(self, *numbers: int) -> None:
        self.trigger.send(*(json.dumps({"number": number}) for number in numbers))

    def steps(self) -> list[str]:
        path = self.folder / "steps"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.partition(" ")[2] for line in lines]

    def wait_for(self, step: str, host: HostProcess) -> None:
        wait_for(lambda: step in self.steps(), lambda: f"{step}\n{host.output()}")


@pytest.fixture
def app(
    redis_url: str, azurite: str, event_hubs: EventHubsEndpoint, tmp_path: Path
) -> Iterator[Running]:
    with event_hubs_trigger(event_hubs, azurite, tmp_path, partitions=1) as trigger:
        yield Running(trigger, tmp_path, redis_url)


@pytest.mark.parametrize(
    ("handler", "number"),
    [
        ("Pooled", signal.SIGTERM),
        pytest.param("Pooled", signal.SIGINT, marks=pytest.mark.long),
        pytest.param("PlainPooled", signal.SIGTERM, marks=pytest.mark.long),
        pytest.param("PlainPooled", signal.SIGINT, marks=pytest.mark.long),
    ],
)
def test_pool_is_closed_once_after_the_last_event_when_the_host_stops(
    app: Running, handler: str, number: signal.Signals
) -> None:
    """A signal arrives during an event, which ends, and no further event starts."""
    (app.folder / "waits").touch()
    app.send(1, 2)
    host = app.start(handler).wait_started()
    app.wait_for("begin 1", host)
    host.process.send_signal(number)
    wait_for(lambda: "the host stops" in host.output(), "the signal")
    (app.folder / "waits").unlink()
    assert host.process.wait(60) == 0
    assert app.steps() == ["open", "begin 1", "end 1", "close"], host.output()


@pytest.mark.parametrize(
    ("number", "code", "steps"),
    [
        (signal.SIGTERM, -signal.SIGTERM, ["open", "begin 1", "end 1", "close"]),
        # Ctrl-C cancels the event, which is redelivered.
        pytest.param(signal.SIGINT, 1, ["open", "begin 1", "close"], marks=pytest.mark.long),
    ],
)
def test_pool_is_closed_once_in_a_process_without_handlers_of_signals(
    app: Running, number: signal.Signals, code: int, steps: list[str]
) -> None:
    """SIGTERM would end such a process at once, and Ctrl-C cancels all tasks of its loop."""
    (app.folder / "waits").touch()
    host = app.start_alone('{"number": 1}')
    wait_for(lambda: "begin 1" in app.steps(), app.log.read_text)
    host.send_signal(number)
    if number == signal.SIGTERM:
        (app.folder / "waits").unlink()
    assert host.wait(60) == code, app.log.read_text()
    assert app.steps() == steps, app.log.read_text()


def test_pool_that_opens_later_handles_all_events(app: Running) -> None:
    """A batch fails before its claim, so that nothing is counted, poisoned or taken for a crash."""
    (app.folder / "fails").touch()
    host = app.start_alone('{"number": 1}', '{"number": 2}')
    wait_for(lambda: app.steps().count("close") >= 5, app.log.read_text)
    (app.folder / "fails").unlink()
    assert host.wait(60) == 0, app.log.read_text()
    steps = app.steps()
    failed = steps.index("begin 1") // 2
    assert steps[: 2 * failed + 1] == ["open", "close"] * failed + ["open"]
    assert sorted(steps[2 * failed + 1 : -1]) == ["begin 1", "begin 2", "end 1", "end 2"]
    assert steps[-1] == "close"
    log = app.log.read_text()
    assert "did not start: start raised OSError: no route to the bank" in log
    assert "Careful mode" not in log
    assert "poison queue" not in log


@pytest.mark.long
def test_pool_stays_open_until_a_drained_host_ends(app: Running) -> None:
    """A drained host may resume, and its handler must still work."""
    app.send(1)
    host = app.start().wait_started()
    app.wait_for("end 1", host)
    for path in ("drain", "resume"):
        httpx.post(f"{host.url}/admin/host/{path}").raise_for_status()
    app.send(2)
    app.wait_for("end 2", host)
    httpx.post(f"{host.url}/admin/host/drain").raise_for_status()
    assert host.terminate() == 0
    opened = ["open", "begin 1", "end 1", "begin 2", "end 2"]
    assert app.steps() == [*opened, "close"], host.output()


@pytest.mark.long
def test_pool_that_cannot_be_opened_keeps_all_events(app: Running) -> None:
    """Each attempt closes what it built, health gives the reason, and nothing is poisoned."""
    (app.folder / "fails").touch()
    app.send(1)
    host = app.start().wait_started()
    app.wait_for("close", host)
    health = httpx.get(f"{host.url}/api/health", timeout=60)
    assert health.status_code == 503
    problems = " ".join(health.json()["problems"])
    assert f"handler {HANDLERS}:Pooled did not start: start raised OSError: no route" in problems
    (app.folder / "fails").unlink()
    app.wait_for("end 1", host)
    assert host.terminate() == 0
    steps = app.steps()
    failed = len(steps) // 2 - 2  # each failed attempt has two steps
    assert failed >= 1
    assert steps == ["open", "close"] * failed + ["open", "begin 1", "end 1", "close"]
    assert "poison queue" not in host.output()
