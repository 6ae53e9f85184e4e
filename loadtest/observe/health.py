"""The app's health report, polled as an operator's monitor polls it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx

from loadtest.target.hosts import host_instances

_POLL_SECONDS = 1.0
_PATIENCE_SECONDS = 10.0
_EXPIRED = re.compile(r"^partition (\S+) of \S+: (\d+) events? expired unhandled")
_STEPPED_BACK = re.compile(r"^the clock of \S+ stepped back by ")
_RECREATED = "recreated"
"""The reason of a partition that does not continue because its hub was recreated."""


@dataclass(frozen=True, slots=True)
class Health:
    """The part of a health report that is about the hub's ends.

    Attributes:
        at_us: the time of the report, microseconds by this machine's clock.
        status: the report's status.
        recreated: the partitions whose hub was recreated.
        expired: partition → the number of expired events that the report's problems name.
        steps_back: whether the report warns that the broker's clock stepped back.
    """

    at_us: int = 0
    status: str = ""
    recreated: frozenset[str] = frozenset()
    expired: Mapping[str, int] = field(default_factory=dict)
    steps_back: bool = False

    @property
    def expired_count(self) -> int:
        """Return the number of expired events of all partitions."""
        return sum(self.expired.values())

    @classmethod
    def parse(cls, report: Mapping[str, Any], at_us: int) -> Self:
        """Read a report; fields that an older app does not have are empty."""
        expired = (_EXPIRED.search(str(each)) for each in report["problems"])
        named = [each["partition"] for each in report["partitions"] if each.get("recreated")]
        named += [each["partition"] for each in report["states"] if each["why"] == _RECREATED]
        return cls(
            at_us=at_us,
            status=str(report["status"]),
            recreated=frozenset(map(str, named)),
            expired={found[1]: int(found[2]) for found in expired if found},
            steps_back=any(map(_STEPPED_BACK.search, map(str, report["warnings"]))),
        )


class HealthWatch:
    """A background poller of the health of the hosts in turn, used as an async context manager.

    Attributes:
        latest: the latest report; before the first report its time is 0.
        recreated_us: partition → the time of the first report that said that its hub was recreated.
        expired_us: number of expired events → the time of the first report with this number.
    """

    def __init__(self, state_dir: Path) -> None:
        self.latest = Health()
        self.recreated_us: dict[str, int] = {}
        self.expired_us: dict[int, int] = {}
        self._state_dir = state_dir
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._poll())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def until(self, condition: Callable[[Health], bool], seconds: float) -> bool:
        """Wait until a report meets the condition; return False if none does in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not (self.latest.at_us and condition(self.latest)):
                    self._changed.clear()
                    await self._changed.wait()
                return True
        return False

    async def _poll(self) -> None:
        async with httpx.AsyncClient(timeout=_PATIENCE_SECONDS, trust_env=False) as client:
            for turn in itertools.count():
                hosts = [each for each in host_instances(self._state_dir) if each.port]
                if hosts:
                    url = f"http://127.0.0.1:{hosts[turn % len(hosts)].port}/api/health"
                    # A host that starts, stops or was killed does not answer.
                    with contextlib.suppress(httpx.HTTPError, ValueError, KeyError):
                        report = (await client.get(url)).json()
                        self.note(Health.parse(report, time.time_ns() // 1000))
                await asyncio.sleep(_POLL_SECONDS)

    def note(self, report: Health) -> None:
        """Record a report."""
        self.latest = report
        self.expired_us.setdefault(report.expired_count, report.at_us)
        for partition in self.latest.recreated:
            self.recreated_us.setdefault(partition, self.latest.at_us)
        self._changed.set()
