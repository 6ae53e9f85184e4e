"""The timer trigger: fires on one instance at a time."""

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
    """Read the binding's schedule.

    Raises:
        SettingsError: it names a setting that is not set.
        AppLoadError: it is no schedule.
    """
    where = f"function {function.name!r}"
    text = settings.expand(str(function.trigger.get("schedule", "")), where)
    try:
        return parse_schedule(text)
    except ValueError as error:
        raise AppLoadError(f"{where}: {error}") from None


class TimerListener:
    """Runs the function when its schedule says so, while this instance holds the lock.

    Occurrences do not pile up: one that comes while the function still runs is let go. One that
    came while no host had the lock is made up for once, when one gets it, if there is a monitor.
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
        self._status = ScheduleStatus.before_the_first_run(schedule, now())
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to wait for the next occurrence."""
        if self._lease is not None:
            self._lease.start()
        self._task = asyncio.get_running_loop().create_task(self.run())

    async def drain(self) -> None:
        """Let occurrences go by."""
        self._draining = True

    async def stop(self, grace: float) -> None:
        """Stop waiting; an invocation that runs goes on."""
        self._token.cancel()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._lease is not None:
            await self._executor.wait(grace)
            await self._lease.stop()

    async def run(self) -> None:
        """Fire for ever, each time from where whoever had the lock has left it."""
        on_startup = bool(self._function.trigger.get("runOnStartup"))
        while True:
            if self._lease is not None:
                await self._lease.wait()
            began = self._now()
            await self._recall(began)
            # One that comes while storage is asked has not been missed: its time is kept below.
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
            await self._keep_time(due)

    async def _keep_time(self, due: datetime) -> None:
        """Fire at each occurrence from `due` on; ends when the lock is lost."""
        began = self._now()
        _log.info(
            "The next occurrence of 'Functions.%s' is %s", self._function.name, due.isoformat()
        )
        while True:
            while (wait := (due - self._now()).total_seconds()) > 0:
                await self._sleep(min(wait, 3600.0))
            if self._lease is not None and not self._lease.held:
                return
            # What came due before, while storage was asked, nobody could have fired sooner.
            late = self._now() - max(due, began)
            await self._fire(past_due=late.total_seconds() > 1)
            due = self._schedule.after(max(due, self._now()))

    async def _recall(self, now: datetime) -> None:
        """Take up the status that another process, or an earlier run of this one, has left."""
        found = await self._monitor.read() if self._monitor is not None else None
        if found is None:
            self._status = ScheduleStatus.before_the_first_run(self._schedule, now)
        else:
            self._status = found.resumed(self._schedule, now)
        if self._monitor is not None and self._status != found:
            await self._monitor.write(self._status)

    async def _fire(self, *, past_due: bool) -> None:
        if self._draining:
            return
        started = self._now()
        work = self._executor.start(self._run_and_note(started, past_due=past_due))
        await asyncio.shield(work)

    async def _run_and_note(self, started: datetime, *, past_due: bool) -> None:
        """Run the function, then note that it ran: one that is killed in between is due again."""
        last = self._status.last
        await self._executor.execute(
            self._function,
            timer_invocation(
                self._schedule, last, started, past_due=past_due, reason="Timer fired"
            ),
            self._token,
        )
        self._status = ScheduleStatus.after_a_run(self._schedule, started)
        if self._monitor is not None:
            await self._monitor.write(self._status)


def timer_invocation(
    schedule: Schedule, last: datetime, now: datetime, *, past_due: bool, reason: str
) -> Invocation:
    """Build what a timer function receives; `reason` goes to the log."""
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
