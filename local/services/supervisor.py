"""Starts the services together, brings crashed ones back, and ends them together."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from local.services.child import Child, EndedAtOnceError, describe_exit
from local.services.restarts import RestartBudget
from local.services.service import Service

_log = logging.getLogger(__name__)

ServiceState = Literal["starting", "running", "restarting", "failed", "stopped"]


class StartError(Exception):
    """A service did not come up; the message has its name, the reason and the end of its log."""


@dataclass
class _Kept:
    """A service with its current process."""

    service: Service
    budget: RestartBudget
    healthy: asyncio.Event = field(default_factory=asyncio.Event)
    state: ServiceState = "starting"
    child: Child | None = None
    started_at: float | None = None
    problem: str | None = None
    exit_code: int | None = None

    def as_dict(self) -> dict[str, Any]:
        child = self.child
        return {
            "name": self.service.name,
            "state": self.state,
            "pid": child.identity.pid if child else None,
            "created": child.identity.created if child else None,
            "started_at": self.started_at,
            "ports": dict(self.service.ports),
            "probes": [probe.as_dict() for probe in self.service.probes],
            "restarts": self.budget.total,
            "problem": self.problem,
        }


class Supervisor:
    """Owner of the children. Use from the main thread: their death signal hangs on it.

    After `stop` the services can be started again; their restart budgets continue.

    Args:
        services: what to run; their `after` may name any other of them.
        logs: directory of the logs, one for each service that is not a foreground one.
        record: called with `as_dict` of every service whenever a process or a state changes.
        on_give_up: called when a service's restart budget is used up.
        start_seconds: how long a service may take until it is healthy; None: as long as it runs.
        stop_seconds: how long one may take to end before it is killed.
    """

    def __init__(
        self,
        services: Sequence[Service],
        logs: Path,
        record: Callable[[list[dict[str, Any]]], None] = lambda services: None,
        *,
        on_give_up: Callable[[], None] = lambda: None,
        start_seconds: float | None = 30,
        stop_seconds: float = 5,
    ) -> None:
        self._kept = {service.name: _Kept(service, RestartBudget()) for service in services}
        self._logs = logs
        self._record = record
        self._on_give_up = on_give_up
        self._start_seconds = start_seconds
        self._stop_seconds = stop_seconds
        self._keepers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start everything at the same time; return when all is healthy.

        Raises:
            StartError: one failed. What did start is left to `stop`.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for kept in self._kept.values():
                    group.create_task(self._bring_up(kept))
        except* StartError as errors:
            raise errors.exceptions[0] from None

    async def stop(self) -> None:
        """End all children in parallel; nothing of them is left afterwards."""
        keepers, self._keepers = self._keepers, []
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        await asyncio.gather(*(self._end(kept) for kept in self._kept.values()))

    async def _bring_up(self, kept: _Kept) -> None:
        for name in kept.service.after:
            await self._kept[name].healthy.wait()
        kept.state = "starting"
        problem = await self._start(kept)
        if problem and self._is_fatal(kept):
            raise StartError(f"{kept.service.name} {problem}{self._log_tail(kept.service)}")
        self._keepers.append(
            asyncio.create_task(self._keep(kept, problem), name=f"keep {kept.service.name}")
        )

    @staticmethod
    def _is_fatal(kept: _Kept) -> bool:
        """Return whether a start that failed is not tried again."""
        fatal = kept.service.fatal_exit_code
        return fatal is None or (kept.exit_code == fatal and not kept.healthy.is_set())

    async def _start(self, kept: _Kept) -> str | None:
        """Start its process and wait for health; None, or what went wrong."""
        kept.exit_code = None
        try:
            kept.child = await Child.start(kept.service, self._log_of(kept.service))
        except EndedAtOnceError as error:
            kept.exit_code = error.code
            return str(error)
        except OSError as error:
            return f"cannot be started: {error}"
        kept.started_at = time.time()
        self._changed()
        if problem := await kept.child.wait_healthy(self._start_seconds):
            kept.exit_code = kept.child.exit_code
            return problem
        kept.state, kept.problem = "running", None
        kept.healthy.set()
        self._changed()
        return None

    async def _keep(self, kept: _Kept, problem: str | None) -> None:
        """Bring a service back that crashed, or whose start had this problem, within its budget."""
        name = kept.service.name
        while True:
            if problem is None and kept.child is not None:
                problem = f"ended with {describe_exit(await kept.child.wait())}"
            while problem:
                await self._end(kept)
                kept.started_at = None
                kept.state, kept.problem = "restarting", problem
                self._changed()
                delay = kept.budget.next_delay()
                if delay is None:
                    self._give_up(kept, problem)
                    return
                _log.warning(
                    "%s: %s; restart %d in %.1f s", name, problem, kept.budget.total, delay
                )
                await asyncio.sleep(delay)
                problem = await self._start(kept)
            _log.warning("%s is back", name)

    def _give_up(self, kept: _Kept, problem: str) -> None:
        budget = kept.budget
        kept.state = "failed"
        kept.problem = (
            f"gave up after {budget.limit} restarts in {budget.window_seconds:g} s, last: {problem}"
        )
        where = "" if kept.service.foreground else f"; see {self._log_of(kept.service)}"
        _log.error("%s: %s%s", kept.service.name, kept.problem, where)
        self._changed()
        self._on_give_up()

    async def _end(self, kept: _Kept) -> None:
        if kept.child is not None and not await kept.child.stop(self._stop_seconds):
            _log.warning("%s did not stop in time and was killed", kept.service.name)
        kept.child, kept.state = None, "stopped"

    def _changed(self) -> None:
        try:
            self._record([kept.as_dict() for kept in self._kept.values()])
        except OSError as error:
            # A full disk; a service that has crashed is to come back all the same.
            _log.error("the record is out of date: %s", error)

    def _log_of(self, service: Service) -> Path:
        return self._logs / f"{service.name}.log"

    def _log_tail(self, service: Service, lines: int = 12) -> str:
        if service.foreground:
            return ""
        path = self._log_of(service)
        text = path.read_text(errors="replace") if path.exists() else ""
        tail = "\n".join(f"    {line}" for line in text.rstrip().splitlines()[-lines:])
        return f"; the end of {path}:\n{tail}" if tail else f"; {path} is empty"
