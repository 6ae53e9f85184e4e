"""The record of a running redrive: who redrives which events, and how far."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from processing.errors import RedriveRunningError, StorageUnavailableError
from processing.redrive.run_store import MemoryRunStore, RunningRedrive, RunPlace
from processing.redrive.runs import RedriveRuns, operator_name

ALL = RunningRedrive("anna@host1")


class Renewed(MemoryRunStore):
    """A store whose renewals a test can wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.done: asyncio.Queue[int] = asyncio.Queue()

    async def renew(self, token: str, run: RunningRedrive) -> None:
        await super().renew(token, run)
        self.done.put_nowait(run.done)


class Away(MemoryRunStore):
    """A store that does not answer."""

    async def begin(self, token: str, run: RunningRedrive) -> RunningRedrive:
        raise StorageUnavailableError(f"away: {token} {run}")

    async def renew(self, token: str, run: RunningRedrive) -> None:
        raise StorageUnavailableError(f"away: {token} {run}")

    async def end(self, token: str) -> None:
        raise StorageUnavailableError(f"away: {token}")


async def test_redrive_is_shown_until_its_block_ends() -> None:
    runs = RedriveRuns(MemoryRunStore())
    async with runs.entered(ALL):
        (running,) = await runs.running()
        assert running == replace(ALL, since=running.since)
    assert await runs.running() == []


async def test_failed_redrive_is_not_shown_any_longer() -> None:
    runs = RedriveRuns(MemoryRunStore())
    with pytest.raises(ValueError, match="broken"):
        async with runs.entered(ALL):
            raise ValueError("broken")
    assert await runs.running() == []


async def test_progress_is_renewed_while_the_redrive_runs() -> None:
    store = Renewed()
    async with RedriveRuns(store, renew_seconds=0.001).entered(ALL) as run:
        run.progress(3, 20, 1)
        while await store.done.get() != 3:
            pass
        (running,) = await store.running()
        assert (running.done, running.total, running.failed) == (3, 20, 1)
        assert running.since > 0
        run.progress(4, 20)
        while await store.done.get() != 4:
            pass


async def test_second_redrive_of_all_events_does_not_enter() -> None:
    runs = RedriveRuns(MemoryRunStore())
    async with runs.entered(ALL):
        with pytest.raises(RedriveRunningError, match=r"is running: anna@host1 redrives everyth"):
            async with runs.entered(replace(ALL, by="bob")):
                raise AssertionError
        (running,) = await runs.running()  # the refused one has removed nothing
        assert running.by == "anna@host1"


async def test_store_that_is_away_does_not_stop_a_redrive() -> None:
    """The record is for operators; the leases of keys are what a redrive depends on."""
    async with RedriveRuns(Away(), renew_seconds=0.001).entered(ALL) as run:
        run.progress(1, 2)


@pytest.mark.parametrize(
    ("run", "line"),
    [
        (
            RunningRedrive("anna@host1", done=3412, total=20_000, since=43_380),
            "anna@host1 redrives everything: 3,412 of 20,000, since 12:03 UTC",
        ),
        (
            RunningRedrive("Ann", RunPlace.CONSOLE, key="a\n", done=1, total=2, failed=1),
            r"Ann redrives key 'a\n' from the console: 1 of 2 (1 failed again), since 00:00 UTC",
        ),
        (
            RunningRedrive("bob", id="0/1/2", discards=True),
            "bob discards event 0/1/2: reading the queue, since 00:00 UTC",
        ),
        (
            RunningRedrive("bob", key="k" * 5000),
            f"bob redrives key 'k{'k' * 97}…: reading the queue, since 00:00 UTC",
        ),
    ],
)
def test_line_names_the_operator_the_events_and_the_progress(
    run: RunningRedrive, line: str
) -> None:
    assert run.line == line


def test_operator_of_a_command_line_has_a_host() -> None:
    name, _, host = operator_name().partition("@")
    assert name
    assert host
