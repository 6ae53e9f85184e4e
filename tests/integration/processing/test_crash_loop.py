"""Real processes on a real Redis that die at one event: the event is found."""

from __future__ import annotations

import json
import os
import secrets
import signal
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from redis.asyncio import Redis

from breaker.configuration.pipelines import pipeline_of
from processing.operations import open_poison
from tests.conftest import EventHubsEndpoint
from tests.support.forked import Forked
from tests.support.processes import wait_for
from tests.support.processing.browsing import browse

STATE = "breakwater:{127.0.0.1/events/$default/default/0}:parking:state"
KILLED, EXITED, WITHOUT_MEMORY = -signal.SIGKILL, 3, 137
FURTHER_DEATHS = 1
"""On a busy machine the running times of the first two deaths alone may not agree."""


@dataclass
class App:
    """An app whose processes run one after another on the same events."""

    directory: Path
    settings: dict[str, str]
    batches: dict[str, list[str]]
    runs: int = 0

    def start(self) -> Forked:
        """Start a process."""
        self.runs += 1
        return Forked(
            "tests.support.processing.crash_child",
            json.dumps(self.batches),
            output=self.directory / f"{self.runs}.log",
            environment=os.environ | self.settings,
        )

    def run(self) -> int:
        """Run a process to its end, and return its exit code."""
        return self.start().wait(60)

    def run_until_done(self, most: int = 10) -> list[int]:
        """Run processes until one has finished all batches; return the exit codes of the others."""
        codes: list[int] = []
        while (code := self.run()) != 0:
            codes.append(code)
            assert len(codes) < most, self.log()
        return codes

    def log(self) -> str:
        """Return the logs of all processes."""
        return "\n".join(path.read_text() for path in sorted(self.directory.glob("*.log")))

    def calls(self, what: str) -> Counter[tuple[str, int]]:
        """Return how often the handler's call of each event has started or ended."""
        path = Path(self.settings["ENDING_LOG"])
        lines = path.read_text().splitlines() if path.exists() else []
        return Counter(
            (partition, int(number))
            for each, partition, number, _ in map(str.split, lines)
            if each == what
        )

    async def poisoned(self) -> dict[tuple[str, int], str]:
        """Return the error of each poisoned event."""
        async with open_poison(self.settings) as storage:
            return {
                (each.partition, each.sequence_number): f"{each.error.type}: {each.error.message}"
                for each in await browse(storage.reader)
            }


@pytest.fixture
def settings(
    redis_url: str, azurite: str, event_hubs: EventHubsEndpoint, tmp_path: Path
) -> dict[str, str]:
    return {
        "REDIS_URL": redis_url,
        "AzureWebJobsStorage": azurite,
        "EventHubConnection": event_hubs.connection_string,
        "EVENT_HUB_NAME": "events",
        "EVENT_HUB_CONSUMER_GROUP": "$Default",
        "EVENT_HANDLER": "tests.support.handlers.ending:handle",
        "POISON_QUEUE": f"poison-{secrets.token_hex(4)}",
        "ENDING_LOG": str(tmp_path / "calls"),
    }


def app(directory: Path, settings: Mapping[str, str], **batches: list[str]) -> App:
    return App(directory, dict(settings), {name[1:]: each for name, each in batches.items()})


@pytest.mark.parametrize("careful_after", [1, pytest.param(3, marks=pytest.mark.long)])
async def test_event_that_kills_its_process_is_poisoned(
    tmp_path: Path, settings: dict[str, str], careful_after: int
) -> None:
    """A slow event of another partition that runs at the same deaths is not blamed."""
    settings |= {"PROCESSING_CAREFUL_AFTER": f"{careful_after}", "PROCESSING_HOLD_SECONDS": "1"}
    running = app(tmp_path, settings, p0=["", "kill", "", ""], p1=["slow:0.5", "", ""])
    codes = running.run_until_done()
    assert set(codes) == {KILLED}, running.log()
    assert careful_after + 2 <= len(codes) <= careful_after + 2 + FURTHER_DEATHS, running.log()
    assert running.calls("start")["0", 1] == len(codes)
    poisoned = await running.poisoned()
    assert set(poisoned) == {("0", 1)}
    assert "CrashLoopError: the event was the only one in flight" in poisoned["0", 1]
    others = {("0", 0), ("0", 2), ("0", 3), ("1", 0), ("1", 1), ("1", 2)}
    assert set(running.calls("end")) == others
    assert "Careful mode begins: this process handles one event at a time" in running.log()
    async with Redis.from_url(settings["REDIS_URL"], decode_responses=True) as client:
        states = [key async for key in client.scan_iter("*:parking:state")]
        assert [await client.hget(key, "alone") for key in states] == [None] * len(states)


@pytest.mark.long
async def test_event_of_one_pipeline_blames_no_event_of_another(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    """In careful mode an event is alone in the process, and not only in its pipeline.

    The slow event is the first one of its pipeline at each death, so careful mode begins for both.
    """
    settings |= {
        "PIPELINES": "orders,audit",
        "PIPELINE_AUDIT_EVENT_HUB_CONSUMER_GROUP": "audit",
        "PROCESSING_CAREFUL_AFTER": "1",
        "PROCESSING_HOLD_SECONDS": "1",
    }
    batches = {"orders/0": ["slow:0.8", ""], "audit/1": ["later:0.4", ""]}
    running = App(tmp_path, settings, batches)
    codes = running.run_until_done()
    assert set(codes) == {KILLED}, running.log()
    assert set(running.calls("end")) == {("0", 0), ("0", 1), ("1", 1)}
    for pipeline, poisoned in (("orders", set()), ("audit", {("1", 0)})):
        settings_of_one = dict(pipeline_of(settings, pipeline).settings)
        assert set(await App(tmp_path, settings_of_one, {}).poisoned()) == poisoned


@pytest.mark.long
@pytest.mark.parametrize(
    ("deed", "code"), [("exit", EXITED), ("memory", WITHOUT_MEMORY), ("task", 6)]
)
@pytest.mark.parametrize("handler", ["handle", "handle_plain"])
async def test_each_way_to_end_a_process_is_found(
    tmp_path: Path, settings: dict[str, str], deed: str, code: int, handler: str
) -> None:
    """Also a memory error, and an exit in a task that the handler created."""
    if (deed, handler) == ("task", "handle_plain"):
        return  # a plain handler has no loop
    settings["EVENT_HANDLER"] = f"tests.support.handlers.ending:{handler}"
    running = app(tmp_path, settings, p0=["", deed, ""], p1=["", ""])
    codes = running.run_until_done()
    assert set(codes) == {code}, running.log()
    assert 5 <= len(codes) <= 5 + FURTHER_DEATHS, running.log()
    assert set(await running.poisoned()) == {("0", 1)}
    assert set(running.calls("end")) == {("0", 0), ("0", 2), ("1", 0), ("1", 1)}


@pytest.mark.parametrize(
    "handler", ["handle", pytest.param("handle_plain", marks=pytest.mark.long)]
)
async def test_handler_that_raises_an_exit_ends_no_process(
    tmp_path: Path, settings: dict[str, str], handler: str
) -> None:
    """SystemExit and KeyboardInterrupt are failures of the event, also in the text of an error."""
    settings["EVENT_HANDLER"] = f"tests.support.handlers.ending:{handler}"
    settings["PROCESSING_MAX_ATTEMPTS"] = "1"
    running = app(tmp_path, settings, p0=["sys-exit", "interrupt", "silent", ""])
    assert running.run() == 0, running.log()
    assert set(await running.poisoned()) == {("0", 0), ("0", 1), ("0", 2)}
    assert set(running.calls("end")) == {("0", 3)}


@pytest.mark.long
async def test_deploys_that_kill_a_slow_event_poison_nothing(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    """Six processes are killed while the event runs, each at another time of its call."""
    running = app(tmp_path, settings, p0=["slow:4", ""])
    for deploy in range(6):
        process = running.start()
        wait_for(lambda: running.calls("start")["0", 0] > deploy, running.log)  # noqa: B023
        if deploy >= 3:  # careful mode; the running times differ by more than the tolerance
            wait_for(lambda: alive_for(settings, 1.5 * (deploy - 3)), running.log)  # noqa: B023
        process.kill()
        assert process.wait(20) == KILLED
    assert running.run() == 0, running.log()
    assert await running.poisoned() == {}
    ends = running.calls("end")
    assert ends["0", 0] == 1
    assert ends["0", 1] >= 1, "a kill may find it handled, but not yet recorded"


@pytest.mark.long
async def test_deploys_with_sigterm_are_no_crashes(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    """A process that is asked to stop clears its marks, also if it is killed later."""
    running = app(tmp_path, settings, p0=["slow:30"])
    for deploy in range(4):
        process = running.start()
        wait_for(lambda: running.calls("start")["0", 0] > deploy, running.log)  # noqa: B023
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: not openings(settings), running.log)
        process.kill()
        assert process.wait(20) == KILLED
    assert "Careful mode" not in running.log()
    assert "died while event" not in running.log()


def openings(settings: Mapping[str, str]) -> list[str]:
    """Return the openings of partition 0."""
    return (_state(settings, "opening") or "").splitlines()


def alive_for(settings: Mapping[str, str], seconds: float) -> bool:
    """Return whether the last run alone is known to have lasted for this time."""
    *_, last = (_state(settings, "alone") or "").splitlines()
    _, _, began, alive = last.split()
    return (int(alive) - int(began)) / 1e6 >= seconds


def _state(settings: Mapping[str, str], field: str) -> str | None:
    with redis.Redis.from_url(settings["REDIS_URL"], decode_responses=True) as client:
        found = client.hget(STATE, field)
    assert found is None or isinstance(found, str)
    return found
