"""The background tasks of a run, which are the operator and the faults of the settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

from loadtest.errors import OperatorError
from loadtest.faults.chaos import Chaos, FaultDone
from loadtest.faults.downstream import Downstream
from loadtest.faults.hub_ends import HubEnds
from loadtest.faults.outage import kill_host
from loadtest.faults.redis_failover import RedisAbsence
from loadtest.observe.observer import Observer
from loadtest.operator import Operator
from loadtest.plan.settings import Settings
from loadtest.target.hosts import HostInstance


class FaultInjection:
    """The operator and the faults as background tasks, cancelled on leaving the context manager.

    Args:
        downstream: the downstream, which begins the scenario's own outage.
        print_line: called with one line per fault of a chaos run.
    """

    def __init__(
        self,
        settings: Settings,
        observer: Observer,
        operator: Operator,
        downstream: Downstream,
        print_line: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._observer = observer
        self._operator = operator
        self._downstream = downstream
        self._target = downstream.target
        self._killed: list[HostInstance] = []
        plan = settings.chaos
        self._chaos = None if plan is None else Chaos(plan, observer, downstream.target, print_line)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def over(self) -> bool:
        """Return whether every fault is over and no approval is in progress."""
        faults_are_over = self._chaos is None or self._chaos.over
        return faults_are_over and self._downstream.over and not self._operator.waiting

    @property
    def kills(self) -> int:
        """The number of host processes killed with SIGKILL so far."""
        return len(self._killed) + (0 if self._chaos is None else self._chaos.kills)

    @property
    def faults(self) -> tuple[FaultDone, ...]:
        """The finished faults of a chaos run."""
        return () if self._chaos is None else self._chaos.faults

    @property
    def hub_ends(self) -> HubEnds | None:
        """The faults of the hub's ends in a chaos run."""
        return None if self._chaos is None else self._chaos.hub_ends

    @property
    def redis_absences(self) -> tuple[RedisAbsence, ...]:
        """The faults of a Redis with a replica that are over."""
        return () if self._chaos is None else tuple(self._chaos.failover.absences)

    @property
    def expired(self) -> int:
        """The number of events that the hub has lost unhandled, as far as the faults know."""
        return 0 if self._chaos is None else self._chaos.hub_ends.expired

    def check(self) -> str | None:
        """Return why the operator failed, or None.

        Raises:
            LoadTestError: a fault could not be injected.
        """
        for task in self._tasks:
            if task.done() and (error := task.exception()):
                if not isinstance(error, OperatorError):
                    raise error
                return str(error)
        return None

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._operator.run()),
            asyncio.create_task(self._downstream.run()),
        ]
        if (after := self._settings.kill_after) is not None:
            self._tasks.append(asyncio.create_task(self._kill(after)))
        if self._chaos is not None:
            self._tasks.append(asyncio.create_task(self._chaos.run()))
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _kill(self, after: int) -> None:
        state_dir = self._target.endpoints.state_dir
        self._killed.append(await kill_host(self._observer, state_dir, after))
