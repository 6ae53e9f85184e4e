"""The health of each instance by itself, polled often, for faults that hit every instance."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx

from loadtest.target.hosts import HostInstance, host_instances

_POLL_SECONDS = 0.25
_PATIENCE_SECONDS = 15.0
_QUIET_SECONDS = 2.0
"""The time without a degraded report after which an instance counts as recovered."""


@dataclass(slots=True)
class InstanceSeen:
    """The reports of one process; times are microseconds by this machine's clock.

    Attributes:
        all_well_us: the request times of the reports that were not degraded.
        degraded_us: the same of the latest degraded report; 0 without one.
        named_us: word → the time at which the first report arrived that names it as a problem.
    """

    all_well_us: list[int] = field(default_factory=list)
    degraded_us: int = 0
    named_us: dict[str, int] = field(default_factory=dict)

    @property
    def well_us(self) -> int:
        """The time of the latest report that was not degraded; 0 without one."""
        return self.all_well_us[-1] if self.all_well_us else 0

    def note(self, report: Mapping[str, Any], words: tuple[str, ...], asked_us: int) -> None:
        """Record a report that was asked for at a time and has arrived now."""
        if report["status"] == "degraded" or report["circuit"]["degraded"]:
            self.degraded_us = asked_us
        else:
            self.all_well_us.append(asked_us)
        text = " ".join(map(str, report["problems"]))
        for word in words:
            if word in text:
                self.named_us.setdefault(word, time.time_ns() // 1000)


class InstanceWatch:
    """A poller of the health of all instances, used as an async context manager.

    Args:
        words: the words to look for in the problems of the reports.

    Attributes:
        seen: the reports of each process that has answered.
    """

    def __init__(self, state_dir: Path, *words: str) -> None:
        self.seen: dict[HostInstance, InstanceSeen] = {}
        self._state_dir = state_dir
        self._words = words
        self._tasks: dict[HostInstance, asyncio.Task[None]] = {}
        self._finding: asyncio.Task[None] | None = None
        self._client = httpx.AsyncClient(timeout=_PATIENCE_SECONDS, trust_env=False)

    async def __aenter__(self) -> Self:
        self._finding = asyncio.create_task(self._find())
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [*self._tasks.values(), *filter(None, [self._finding])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    @property
    def running(self) -> dict[HostInstance, InstanceSeen]:
        """The processes that still run, with their reports."""
        now = host_instances(self._state_dir)
        return {host: self.seen.get(host, InstanceSeen()) for host in now if host.port}

    async def until_seen(self, seconds: float) -> None:
        """Wait until each instance has answered, for at most `seconds`."""
        await self._until(lambda seen: bool(seen.well_us or seen.degraded_us), seconds)

    async def until_well(self, since_us: int, seconds: float) -> None:
        """Wait until no instance has been degraded for a while, for at most `seconds`."""

        def is_well(seen: InstanceSeen) -> bool:
            return seen.well_us - max(since_us, seen.degraded_us) > _QUIET_SECONDS * 1e6

        await self._until(is_well, seconds)

    def _all(self, condition: Callable[[InstanceSeen], bool]) -> bool:
        now = self.running.values()
        return bool(now) and all(map(condition, now))

    async def _until(self, condition: Callable[[InstanceSeen], bool], seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._all(condition):  # noqa: ASYNC110 - other processes
                    await asyncio.sleep(_POLL_SECONDS)

    async def _find(self) -> None:
        while True:
            for host in host_instances(self._state_dir):
                if host.port and host not in self._tasks:
                    self._tasks[host] = asyncio.create_task(self._poll(host))
            await asyncio.sleep(_POLL_SECONDS)

    async def _poll(self, host: HostInstance) -> None:
        url = f"http://127.0.0.1:{host.port}/api/health"
        while True:
            asked_us = time.time_ns() // 1000
            # A host that starts, stops or was killed does not answer.
            with contextlib.suppress(httpx.HTTPError, ValueError, KeyError):
                report = (await self._client.get(url)).json()
                self.seen.setdefault(host, InstanceSeen()).note(report, self._words, asked_us)
            await asyncio.sleep(_POLL_SECONDS)
