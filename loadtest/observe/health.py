"""The app's health report, polled as an operator's monitor polls it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx

from loadtest.target.hosts import host_instances

_POLL_SECONDS = 1.0
_PATIENCE_SECONDS = 10.0
_RECREATED = "recreated"
"""The reason of a partition that does not continue because its hub was recreated."""


@dataclass(frozen=True, slots=True)
class Health:
    """What one report says about the hub's ends.

    Attributes:
        at_us: the time of the report, microseconds by this machine's clock.
        status: the report's status.
        recreated: the partitions whose hub was recreated.
        pending: partition → the expired events that no batch has met yet.
        recorded: partition → the expired events that a batch has met.
        problems: the report's problems.
    """

    at_us: int = 0
    status: str = ""
    recreated: frozenset[str] = frozenset()
    pending: Mapping[str, int] = field(default_factory=dict)
    recorded: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def expired(self) -> int:
        """The number of expired events, met by a batch or not."""
        return sum(self.pending.values()) + sum(self.recorded.values())

    @classmethod
    def parse(cls, report: Mapping[str, Any], at_us: int) -> Self:
        """Read a report; fields that an older app does not have are empty."""
        partitions = report["partitions"]
        named = [each["partition"] for each in partitions if each.get("recreated")]
        named += [each["partition"] for each in report["states"] if each["why"] == _RECREATED]
        return cls(
            at_us=at_us,
            status=str(report["status"]),
            recreated=frozenset(map(str, named)),
            pending={str(each["partition"]): int(each.get("expired", 0)) for each in partitions},
            recorded={str(each["partition"]): int(each.get("lost", 0)) for each in partitions},
            problems=tuple(map(str, report["problems"])),
        )


class HealthWatch:
    """A background poller of the health of the hosts in turn, used as an async context manager.

    Attributes:
        latest: the latest report; its time is 0 before the first one.
        recreated_us: partition → the time of the first report that said that its hub was recreated.
    """

    def __init__(self, state_dir: Path) -> None:
        self.latest = Health()
        self.recreated_us: dict[str, int] = {}
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
                        self._note((await client.get(url)).json())
                await asyncio.sleep(_POLL_SECONDS)

    def _note(self, report: Mapping[str, Any]) -> None:
        self.latest = Health.parse(report, time.time_ns() // 1000)
        for partition in self.latest.recreated:
            self.recreated_us.setdefault(partition, self.latest.at_us)
        self._changed.set()
