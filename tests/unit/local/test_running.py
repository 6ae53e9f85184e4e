"""The options of a second `up` beside those of the stack that is up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from local.services.ports import DEFAULT_PORTS, PortChoice
from local.stack.kept import Kept
from local.stack.running import differences, write_running
from local.stack.stack import StackOptions, compose
from local.state_directory import StateDirectory


@pytest.fixture
def options(tmp_path: Path) -> StackOptions:
    directory = StateDirectory(tmp_path)
    directory.clear()
    return StackOptions(
        directory, tmp_path / "local.settings.json", PortChoice({}, ephemeral=True), console=False
    )


@pytest.fixture
def running(options: StackOptions) -> StackOptions:
    """Record a stack as up, with options of its own; return the options of a plain `up`."""
    own = replace(options, partitions=2, settings={"MINE": "secret"}, cloud={"--stop-seconds": 3.0})
    stack = compose(own, Kept.read(own.directory), 1)
    assert set(DEFAULT_PORTS) <= set(stack.ports)
    write_running(own, stack)
    return replace(options, console=True)


def test_options_that_were_not_given_fit(running: StackOptions) -> None:
    assert differences(running, running.directory) == []


def test_given_options_that_the_stack_has_fit(running: StackOptions) -> None:
    """A given default fits a stack that has the default."""
    same = replace(
        running,
        partitions=2,
        settings={"MINE": "secret", "BREAKER_FAILURE_THRESHOLD": "100"},
        console=False,
        cloud={"--stop-seconds": 3.0, "--workflow-retry-scale": 0.1},
        ports=PortChoice({"redis": 0}, ephemeral=True),
    )
    assert differences(same, running.directory) == []


def test_each_other_option_is_named(running: StackOptions) -> None:
    """No value of a setting is shown, because settings may hold secrets."""
    other = replace(
        running,
        partitions=4,
        settings={"MINE": "hidden", "NEW": "hidden", "BREAKER_FAILURE_THRESHOLD": "7"},
        redis_replica=True,
        cloud={"--stop-seconds": 0.0, "--grid-retry-scale": 2.0},
        ports=PortChoice({"redis": 1}),
        wipe=True,
    )
    lines = differences(other, running.directory)
    assert [line.partition(":")[0] for line in lines] == [
        "--set MINE",
        "--set NEW",
        "--set BREAKER_FAILURE_THRESHOLD",
        "--partitions 4",
        "--port-redis 1",
        "--redis-replica",
        "--stop-seconds 0",
        "--grid-retry-scale 2",
        "--wipe",
    ]
    assert "the stack has 2" in lines[3]
    assert "the stack has 3" in lines[6]
    assert not any("hidden" in line or "secret" in line for line in lines)


def test_console_of_the_stack_is_not_ignored(options: StackOptions) -> None:
    own = replace(options, console=True)
    write_running(own, compose(own, Kept.read(own.directory), 1))
    assert differences(options, options.directory) == ["--no-console: the stack has one"]
