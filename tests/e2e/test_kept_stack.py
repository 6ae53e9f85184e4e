"""A running app whose stack goes down and comes up again."""

from __future__ import annotations

import json
import os
import signal
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from azure.eventhub import EventData, EventHubProducerClient

from tests.support.local.hosts import running_hosts
from tests.support.local.stack import up
from tests.support.patience import HANG_SECONDS
from tests.support.processes import children_of, run_local, wait_for, wait_until_gone

OPTIONS = ("--no-console", "--set", "EVENT_HANDLER=tests.support.handlers.noting:NotingHandler")
EVENTS = 4000
"""More than the app handles until the stack has gone."""


@pytest.fixture
def state_directory(tmp_path: Path) -> Iterator[Path]:
    """Provide the directory of a stack that is ended after the test."""
    directory = tmp_path / "state"
    yield directory
    run_local("down", "--state-dir", directory)


def send(endpoints: dict[str, Any]) -> None:
    """Send events to every partition in turn."""
    with EventHubProducerClient.from_connection_string(
        endpoints["event_hub_connection"], eventhub_name=endpoints["event_hub_name"]
    ) as producer:
        for number in range(40):
            events: list[Any] = [EventData("x") for _ in range(EVENTS // 40)]
            producer.send_batch(events, partition_id=str(number % 4))


def noted(endpoints: dict[str, Any]) -> dict[str, list[int]]:
    """Return the sequence numbers that the handler received, in order, by partition."""
    found: dict[str, list[int]] = defaultdict(list)
    with redis.Redis.from_url(endpoints["redis_url"]) as client:
        for line in client.lrange("noted", 0, -1):
            partition, number = line.decode().split()
            found[partition].append(int(number))
    return found


def handled(endpoints: dict[str, Any]) -> int:
    """Return the number of events that the handler received at least once."""
    return sum(len(set(numbers)) for numbers in noted(endpoints).values())


@pytest.mark.long
@pytest.mark.timeout(600)
def test_running_app_continues_when_its_stack_comes_back(state_directory: Path) -> None:
    """No event is lost after `down` and after a killed supervisor; keys and addresses stay."""
    endpoints = up(state_directory, *OPTIONS)
    with running_hosts(endpoints):
        send(endpoints)
        wait_for(lambda: handled(endpoints) >= 100, "the first events", HANG_SECONDS)
        assert run_local("down", "--state-dir", state_directory).returncode == 0
        assert up(state_directory, *OPTIONS)["redis_url"] == endpoints["redis_url"]
        wait_for(lambda: handled(endpoints) == EVENTS, "the rest", HANG_SECONDS)
        send(endpoints)
        wait_for(lambda: handled(endpoints) >= EVENTS + 100, "more events", HANG_SECONDS)
        supervisor = json.loads((state_directory / "endpoints.json").read_text())["supervisor_pid"]
        children = children_of(supervisor)
        os.kill(supervisor, signal.SIGKILL)
        assert wait_until_gone(children) == []
        up(state_directory, *OPTIONS)
        wait_for(lambda: handled(endpoints) == 2 * EVENTS, "all events", HANG_SECONDS)
    for numbers in noted(endpoints).values():
        first = list(dict.fromkeys(numbers))
        assert first == list(range(2 * EVENTS // 4)), "an event was lost, or handled out of order"
