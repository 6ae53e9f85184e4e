"""The supervisor of the services: parallel start, restart after a crash, parallel end."""

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
    """A service did not start; the message has its name, the reason and the end of its log."""


@dataclass
class _Managed:
    """A service with its current process."""

    service: Service
    budget: RestartBudget
    healthy: asyncio.Event = field(default_factory=asyncio.Event)
    state: ServiceState = "starting"
    child: Child | None = None
    started_at: float | None = None
    problem: str | None = None
    exit_code: int | None = None
    was_ready: bool = False

    @property
    def has_fatal_exit(self) -> bool:
        """Return whether the service ended with its fatal exit code and was never ready."""
        fatal = self.service.fatal_exit_code
        return fatal is not None and self.exit_code == fatal and not self.was_ready

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
    """Owner of the child processes; use it in the main thread, see `end_with_parent`.

    After `stop` the services can be started again with the rest of their restart budgets.

    Args:
        services: the services to run; their `after` may name any other of these services.
        logs: the directory for one log of each service that is not a foreground service.
        record: called with the record of every service whenever a process or a state changes.
        on_give_up: called when a service is not restarted again.
        start_seconds: time limit until a service is healthy; None: no limit while it runs.
        stop_seconds: time limit for the end of a service before it is killed.
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
        self._managed = {
            service.name: _Managed(service, RestartBudget(endless=service.restarts_endlessly))
            for service in services
        }
        self._logs = logs
        self._record = record
        self._on_give_up = on_give_up
        self._start_seconds = start_seconds
        self._stop_seconds = stop_seconds
        self._watchers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start all services in parallel; return when every service is healthy.

        Raises:
            StartError: a service failed. Call `stop` to end the services that did start.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for managed in self._managed.values():
                    group.create_task(self._bring_up(managed))
        except* StartError as errors:
            raise errors.exceptions[0] from None

    async def stop(self) -> None:
        """End all children in parallel, including the rest of their process groups."""
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
        await asyncio.gather(*(self._end(managed) for managed in self._managed.values()))

    async def _bring_up(self, managed: _Managed) -> None:
        for name in managed.service.after:
            await self._managed[name].healthy.wait()
        managed.state = "starting"
        problem = await self._start(managed)
        if problem and (managed.service.fatal_exit_code is None or managed.has_fatal_exit):
            raise StartError(f"{managed.service.name} {problem}{self._log_tail(managed.service)}")
        self._watchers.append(
            asyncio.create_task(self._watch(managed, problem), name=f"watch {managed.service.name}")
        )

    async def _start(self, managed: _Managed) -> str | None:
        """Start the process and wait until it is healthy; return None or the problem as text."""
        managed.exit_code = None
        try:
            managed.child = await Child.start(managed.service, self._log_of(managed.service))
        except EndedAtOnceError as error:
            managed.exit_code = error.code
            return str(error)
        except OSError as error:
            return f"could not be started: {error}"
        managed.started_at = time.time()
        self._changed()
        limit = None if managed.service.starts_slowly else self._start_seconds
        problem = await managed.child.wait_healthy(limit)
        # A service that ended between two polls may have written its ready file before.
        managed.was_ready |= problem is None or managed.child.has_ready_file
        if problem:
            managed.exit_code = managed.child.exit_code
            return problem
        managed.state, managed.problem = "running", None
        managed.healthy.set()
        self._changed()
        return None

    async def _watch(self, managed: _Managed, problem: str | None) -> None:
        """Restart a service after each crash or failed start, within its restart budget."""
        name = managed.service.name
        while True:
            ran = problem is None
            if problem is None and managed.child is not None:
                problem = f"ended with {describe_exit(await managed.child.wait())}"
            while problem:
                await self._end(managed)
                managed.started_at = None
                managed.state, managed.problem = "restarting", problem
                self._changed()
                delay = managed.budget.next_delay()
                if delay is None:
                    limit, window = managed.budget.limit, managed.budget.window_seconds
                    self._give_up(
                        managed, f"gave up after {limit} restarts in {window:g} s; last: {problem}"
                    )
                    return
                _log.warning(
                    "%s: %s; restart %d follows in %.1f s",
                    name,
                    problem,
                    managed.budget.total,
                    delay,
                )
                self._report_loop(managed, "ends again and again" if ran else "does not start")
                ran = False
                await asyncio.sleep(delay)
                problem = await self._start(managed)
                if problem and managed.has_fatal_exit:
                    await self._end(managed)
                    managed.started_at = None
                    self._give_up(managed, f"{problem} before it was ever ready")
                    return
            _log.warning("%s is healthy again", name)

    def _report_loop(self, managed: _Managed, what: str) -> None:
        """Log the crash loop of a service that is restarted although its budget is used up."""
        budget = managed.budget
        if budget.recent > budget.limit:
            where = "" if managed.service.foreground else f" ({self._log_of(managed.service)})"
            _log.error(
                "%s %s: %d restarts in %g s; last: %s. The restarts continue; the service's own "
                "log%s has the cause",
                *(managed.service.name, what, budget.recent, budget.window_seconds),
                *(managed.problem, where),
            )

    def _give_up(self, managed: _Managed, problem: str) -> None:
        managed.state, managed.problem = "failed", problem
        where = "" if managed.service.foreground else f"; see {self._log_of(managed.service)}"
        _log.error("%s: %s%s", managed.service.name, problem, where)
        self._changed()
        self._on_give_up()

    async def _end(self, managed: _Managed) -> None:
        if managed.child is not None and not await managed.child.stop(self._stop_seconds):
            _log.warning(
                "%s did not stop within %g s and was killed",
                managed.service.name,
                self._stop_seconds,
            )
        managed.child, managed.state = None, "stopped"

    def _changed(self) -> None:
        try:
            self._record([managed.as_dict() for managed in self._managed.values()])
        except OSError as error:
            # On a full disk a crashed service must still be restarted.
            _log.error("could not write the record of the services; it is out of date: %s", error)

    def _log_of(self, service: Service) -> Path:
        return self._logs / f"{service.name}.log"

    def _log_tail(self, service: Service, lines: int = 12) -> str:
        if service.foreground:
            return ""
        path = self._log_of(service)
        text = path.read_text(errors="replace") if path.exists() else ""
        tail = "\n".join(f"    {line}" for line in text.rstrip().splitlines()[-lines:])
        return f"; the end of {path}:\n{tail}" if tail else f"; {path} is empty"
