"""The timer trigger, which fires on one instance at a time."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from local.functions_host.errors import AppLoadError
from local.functions_host.triggers.timer.ncrontab import Schedule, parse_schedule
from local.functions_host.triggers.timer.schedule_monitor import ScheduleMonitor, ScheduleStatus
from local.functions_host.worker.cancellation import CancellationToken
from local.functions_host.worker.execution import Executor, Invocation
from local.functions_host.worker.worker import Datum

if TYPE_CHECKING:
    from local.functions_host.app_settings import AppSettings
    from local.functions_host.triggers.timer.lease import Lock
    from local.functions_host.worker.functions import Function

_log = logging.getLogger("Host.Triggers.Timer")


def _utc_now() -> datetime:
    return datetime.now(UTC)


def resolve_schedule(function: Function, settings: AppSettings) -> Schedule:
    """Parse the schedule of a function's binding.

    Raises:
        SettingsError: the binding names a setting that is not set.
        AppLoadError: the text is not a schedule.
    """
    where = f"function {function.name!r}"
    text = settings.expand(str(function.trigger.get("schedule", "")), where)
    try:
        return parse_schedule(text)
    except ValueError as error:
        raise AppLoadError(f"{where}: {error}") from None


class TimerListener:
    """A listener that runs the function on its schedule while this instance holds the lock.

    Occurrences do not pile up: an occurrence is skipped while the function still runs. With a
    monitor, an occurrence that no host ran is made up for once, by the next holder of the lock.
    """

    def __init__(
        self,
        function: Function,
        schedule: Schedule,
        executor: Executor,
        lease: Lock | None,
        monitor: ScheduleMonitor | None = None,
        *,
        now: Callable[[], datetime] = _utc_now,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    ) -> None:
        self._function = function
        self._schedule = schedule
        self._executor = executor
        self._lease = lease
        self._monitor = monitor
        self._now = now
        self._sleep = sleep
        self._token = CancellationToken()
        self._draining = False
        self._status = ScheduleStatus.before_first_run(schedule, now())
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start waiting for the next occurrence."""
        if self._lease is not None:
            self._lease.start()
        self._task = asyncio.get_running_loop().create_task(self.run())

    async def drain(self) -> None:
        """Skip all further occurrences."""
        self._draining = True

    async def stop(self, grace: float) -> None:
        """Stop waiting; a running invocation gets up to `grace` seconds to end."""
        self._token.cancel()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._lease is not None:
            await self._executor.wait(grace)
            await self._lease.stop()

    async def run(self) -> None:
        """Fire until cancelled; after each acquired lock, continue from the stored status."""
        on_startup = bool(self._function.trigger.get("runOnStartup"))
        while True:
            if self._lease is not None:
                await self._lease.wait()
            began = self._now()
            await self._load_status(began)
            # An occurrence during the read of the status is not missed: `due` below still has it.
            missed = self._status.next < began
            if missed:
                _log.info(
                    "Function '%s' is past due on startup. Executing now.", self._function.name
                )
            if missed or on_startup:
                await self._fire(past_due=missed)
                due = max(self._status.next, self._schedule.after(self._now()))
            else:
                due = self._status.next
            on_startup = False
            await self._fire_on_schedule(due)

    async def _fire_on_schedule(self, due: datetime) -> None:
        """Fire at each occurrence from `due` on; return when the lock is lost."""
        began = self._now()
        _log.info(
            "The next occurrence of 'Functions.%s' is %s", self._function.name, due.isoformat()
        )
        while True:
            while (wait := (due - self._now()).total_seconds()) > 0:
                await self._sleep(min(wait, 3600.0))
            if self._lease is not None and not self._lease.held:
                return
            # An occurrence before `began` could not fire sooner, so only later delays count.
            late = self._now() - max(due, began)
            await self._fire(past_due=late.total_seconds() > 1)
            due = self._schedule.after(max(due, self._now()))

    async def _load_status(self, now: datetime) -> None:
        """Load the status that another process or an earlier run has stored."""
        found = await self._monitor.read() if self._monitor is not None else None
        if found is None:
            self._status = ScheduleStatus.before_first_run(self._schedule, now)
        else:
            self._status = found.resumed(self._schedule, now)
        if self._monitor is not None and self._status != found:
            await self._monitor.write(self._status)

    async def _fire(self, *, past_due: bool) -> None:
        if self._draining:
            return
        started = self._now()
        work = self._executor.start(self._run_and_record(started, past_due=past_due))
        await asyncio.shield(work)

    async def _run_and_record(self, started: datetime, *, past_due: bool) -> None:
        """Run the function, then store the status; a kill in between makes the run due again."""
        last = self._status.last
        await self._executor.execute(
            self._function,
            timer_invocation(
                self._schedule, last, started, past_due=past_due, reason="Timer fired"
            ),
            self._token,
        )
        self._status = ScheduleStatus.after_run(self._schedule, started)
        if self._monitor is not None:
            await self._monitor.write(self._status)


def timer_invocation(
    schedule: Schedule, last: datetime, now: datetime, *, past_due: bool, reason: str
) -> Invocation:
    """Build the invocation of a timer function; `reason` goes to the log."""
    data = {
        "Schedule": {"AdjustForDST": True},
        "ScheduleStatus": {
            "Last": last.isoformat(),
            "Next": schedule.after(now).isoformat(),
            "LastUpdated": now.isoformat(),
        },
        "IsPastDue": past_due,
    }
    moment = now.isoformat()
    return Invocation(Datum(json.dumps(data), "json"), {}, f"{reason} at {moment}")
