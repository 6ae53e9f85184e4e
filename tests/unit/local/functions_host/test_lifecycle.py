"""Drain, resume and stop of a host, and changes of the site's state."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from local.functions_host.host import Host
from local.functions_host.instances import Instances
from local.functions_host.options import HostOptions
from local.functions_host.triggers.event_hubs.balancing import Balancing
from local.functions_host.worker.execution import Executor
from local.functions_host.worker.functions import Function


@dataclass
class Listeners:
    """A factory that builds one slow listener at a time and lists the active ones."""

    listening: list[int] = field(default_factory=list)
    built: int = 0
    closed: bool = False

    def build(self, functions: Any) -> list[Any]:
        self.built += 1
        return [Listener(self, self.built)]

    async def close(self) -> None:
        self.closed = True


@dataclass
class Listener:
    of: Listeners
    number: int

    async def start(self) -> None:
        await asyncio.sleep(0)
        self.of.listening.append(self.number)

    async def drain(self) -> None:
        await asyncio.sleep(0)

    async def stop(self, grace: float) -> None:
        await asyncio.sleep(0)
        self.of.listening.remove(self.number)


async def started() -> tuple[Host, Listeners]:
    listeners = Listeners()
    no_functions: list[Function] = []
    host = Host(no_functions, cast("Any", listeners), Executor(cast("Any", None)))
    await host.start()
    return host, listeners


async def test_two_requests_to_resume_make_one_listener() -> None:
    """Two listeners would read the same partitions, and only one could be stopped."""
    host, listeners = await started()
    await host.drain()
    await asyncio.gather(host.resume(), host.resume())
    assert listeners.listening == [2]
    assert await host.stop(1) == 0
    assert listeners.listening == []


async def test_requests_during_a_stop_change_nothing() -> None:
    host, listeners = await started()
    await host.drain()
    await asyncio.gather(host.stop(1), host.resume(), host.drain())
    assert (listeners.listening, listeners.closed) == ([], True)


async def test_an_unreadable_site_state_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The error is logged again after the state was readable in between."""
    instances = Instances(HostOptions(state_dir=tmp_path, instances=0, grace=1))
    site = tmp_path / "site.json"
    with caplog.at_level(logging.ERROR):
        for text in ("{", "{", '{"state": "Running"}', "{"):
            site.write_text(text)
            await instances._follow_site()
    assert len(caplog.records) == 2


def test_instances_get_the_options_of_the_command(tmp_path: Path) -> None:
    options = HostOptions(
        state_dir=tmp_path, event_hubs_extension="6.5.2", balancing=Balancing(2.0, 4.0)
    )
    command = " ".join(Instances(options)._command(0))
    assert "--event-hubs-extension 6.5.2" in command
    assert "--lease 4.0" in command
    assert "--balance-interval 2.0" in command
