"""Stop, act, start: an act that needs a stopped app, as one action.

The app is started again whatever happens to the act: an error, an interruption, a cancellation. An
app that was stopped before stays stopped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from breaker import BreakerError, CircuitBreaker, StoreUnavailableError
from breaker.chain import Step, StepKind
from processing.errors import AppRunningError, ProcessingError, SiteError
from processing.site.acts import Act, act
from processing.site.client import Site
from processing.site.statement import ASKING_SECONDS, RUNNING, STOPPED

POLL_SECONDS = 2.0
STOP_SECONDS = 600.0
"""Time limit until the stop is seen."""
OWNED_SECONDS = 300.0
"""Time limit until the ownerships have expired; a running host renews them."""
RUN_SECONDS = 60.0
"""Time limit until the start is seen; the start itself was accepted before."""
STARTS = 3
"""Attempts to start the app, each with the retries of `Site`."""

type Stopping = Callable[[], bool]
"""Returns whether the act must end at the next point at which nothing is half done."""


class Stage(StrEnum):
    """The stage of a restart."""

    STOP = "stop"
    """The stop is asked for, and the app is not seen stopped yet."""
    EXPIRE = "expire"
    """The app is stopped, and its ownerships have not expired."""
    ACT = "act"
    START = "start"
    """The start is asked for, and the app is not seen running yet."""


@dataclass(slots=True)
class RestartReport:
    """The calls of one restart, and their effects.

    Attributes:
        was_stopped: whether the app was already stopped, or another operator had asked for a stop.
        stop: the stop that was asked for; None: no stop was asked for.
        stop_seen: whether the app was seen stopped.
        acted: whether the act ran to its end.
        start: the last start that was asked for; None: no start was asked for.
        start_seen: whether the app was seen running after the start.
        left_stopped: why the app was not started again, or "".
        error: the error of the stop, the waiting or the act, or "".
        interrupted: why the action was interrupted, or "".
        stopped_at: time of the stop that no start has followed yet, seconds since the epoch; None:
            there is none.
        unrecorded: why a step is not on record in the circuit's history, or "".
    """

    was_stopped: bool = False
    stop: Step | None = None
    stop_seen: bool = False
    acted: bool = False
    start: Step | None = None
    start_seen: bool = False
    left_stopped: str = ""
    error: str = ""
    interrupted: str = ""
    stopped_at: float | None = None
    unrecorded: str = ""


async def _nothing() -> None:
    pass


def _show_nothing(_stage: Stage, _seconds: float, _most: float) -> None:
    pass


@dataclass
class Restart:
    """One stop, act and start.

    Args:
        site: the function app.
        breaker: the circuit whose history gets the stop and the start.
        by: the operator.
        reason: reason of the stop and the start, for the history.
        owned_seconds: returns the time until the last ownership expires; 0.0: none is left.
        before_stop: called before the stop is asked for; an error prevents the stop.
        show: called with the stage, its seconds so far and its time limit in seconds.
        sleep: pauses between two reads.
        now: returns the time, seconds since the epoch.
        clock: returns a time that never steps, in seconds.
        others: the circuits of the app's other pipelines, which stop and start with it.
        report: the calls and their effects.
    """

    site: Site
    breaker: CircuitBreaker
    by: str
    reason: str
    owned_seconds: Callable[[], Awaitable[float]]
    before_stop: Callable[[], Awaitable[None]] = _nothing
    show: Callable[[Stage, float, float], None] = _show_nothing
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    now: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    others: Sequence[CircuitBreaker] = ()
    report: RestartReport = field(default_factory=RestartReport)
    _waiting: asyncio.Task[None] | None = field(default=None, init=False)
    _acting: asyncio.Task[None] | None = field(default=None, init=False)

    def interrupt(self, why: str) -> None:
        """End the action early, and start the app again.

        A first call ends a wait, or lets the act end at the next point at which nothing is half
        done. A second call cancels the act. No call cancels the start.
        """
        if self.report.interrupted and self._acting is not None:
            self._acting.cancel()
        self.report.interrupted = self.report.interrupted or why
        if self._waiting is not None:
            self._waiting.cancel()

    async def run(self, action: Callable[[Stopping], Awaitable[None]]) -> RestartReport:
        """Stop the app, wait, act, and start the app; the report says what was done.

        Args:
            action: the act; an error or an interruption of it does not prevent the start.
        """
        try:
            await self._stop()
            await self._wait(self._until_stopped())
            await self._wait(self._until_expired())
            await self._act(action)
        except (ProcessingError, BreakerError, OSError, ValueError) as error:
            self.report.error = str(error) or type(error).__name__
        except asyncio.CancelledError:
            if not self.report.interrupted:
                raise
        finally:
            if self.report.stopped_at is not None:
                await _finish(self._start(self.report.stopped_at))
        return self.report

    def _show(self, stage: Stage, seconds: float, most: float) -> None:
        with suppress(OSError, ValueError):  # the terminal may be gone, but the app must start
            self.show(stage, seconds, most)

    async def _stop(self) -> None:
        state = await self.site.state()
        self.report.was_stopped = state.lower() == STOPPED or await self._stops_already()
        if self.report.was_stopped or self.report.interrupted:
            return
        self.report.stopped_at = self.now()
        try:
            await self.before_stop()
        except BaseException:
            self.report.stopped_at = None
            raise
        done = await self._ask(StepKind.STOP)
        self.report.stop = done.step
        if done.error is not None:
            # A refusal has changed nothing; without an answer the app may be stopping.
            if done.error.answered and not done.error.detail.startswith("HTTP 5"):
                self.report.stopped_at = None
            raise done.error

    async def _ask(self, kind: StepKind) -> Act:
        done = await act(
            *(kind, self.site, self.breaker),
            by=self.by,
            reason=self.reason,
            now=self.now,
            others=self.others,
        )
        self.report.unrecorded = self.report.unrecorded or done.unrecorded
        return done

    async def _stops_already(self) -> bool:
        """Return whether somebody else has asked for a stop that is not seen yet.

        The app may have been started since without a record, so an older stop does not count.
        """
        for breaker in (self.breaker, *self.others):
            try:
                chain = await breaker.approvals.status()
            except StoreUnavailableError:
                continue
            stop, start = chain.stop, chain.start
            if stop is None or not stop.accepted or (start is not None and start.at >= stop.at):
                continue
            if self.now() - stop.at < ASKING_SECONDS:
                return True
        return False

    async def _until_stopped(self) -> None:
        last: SiteError | None = None
        began = self.clock()
        while (seconds := self.clock() - began) < STOP_SECONDS:
            self._show(Stage.STOP, seconds, STOP_SECONDS)
            try:
                if (await self.site.state(attempts=1)).lower() == STOPPED:
                    self.report.stop_seen = True
                    return
                last = None
            except SiteError as error:
                last = error
            await self.sleep(POLL_SECONDS)
        why = f"; the last answer was: {last}" if last else ""
        raise SiteError(
            f"the app was not seen stopped within {STOP_SECONDS:.0f} s{why}", detail="not seen"
        )

    async def _until_expired(self) -> None:
        began, most = self.clock(), 0.0
        while left := await self.owned_seconds():
            seconds = self.clock() - began
            if seconds >= OWNED_SECONDS:
                raise AppRunningError(
                    f"the app still owns its partitions {seconds:.0f} s after the stop was seen: a "
                    "host that reads this consumer group still runs"
                )
            most = max(most, seconds + left)
            self._show(Stage.EXPIRE, seconds, most)
            await self.sleep(min(POLL_SECONDS, left))

    async def _wait(self, waiting: Coroutine[Any, Any, None]) -> None:
        if self.report.interrupted:
            waiting.close()
            return
        self._waiting = asyncio.create_task(waiting)
        try:
            await self._waiting
        finally:
            self._waiting = None

    async def _act(self, action: Callable[[Stopping], Awaitable[None]]) -> None:
        if self.report.interrupted:
            return
        self._show(Stage.ACT, 0.0, 0.0)

        async def acting() -> None:
            await action(lambda: bool(self.report.interrupted))

        self._acting = asyncio.create_task(acting())
        try:
            await self._acting
        finally:
            self._acting = None
        self.report.acted = not self.report.interrupted

    async def _start(self, stopped_at: float) -> None:
        for each in (self.breaker, *self.others):
            if why := await stopped_by_others(each, stopped_at, self.by):
                self.report.left_stopped = why
                return
        self._show(Stage.START, 0.0, RUN_SECONDS)
        for attempt in range(STARTS):
            if attempt:
                await self.sleep(POLL_SECONDS)
            done = await self._ask(StepKind.START)
            self.report.start = done.step
            self.report.left_stopped = "" if done.error is None else str(done.error)
            if done.error is None:
                self.report.stopped_at = None
                await self._until_running()
                return

    async def _until_running(self) -> None:
        began = self.clock()
        while (seconds := self.clock() - began) < RUN_SECONDS:
            self._show(Stage.START, seconds, RUN_SECONDS)
            try:
                if (await self.site.state(attempts=1)).lower() == RUNNING:
                    self.report.start_seen = True
                    return
            except SiteError:
                pass  # the start was accepted; the report says that it was not seen
            await self.sleep(POLL_SECONDS)


async def stopped_by_others(breaker: CircuitBreaker, since: float, by: str) -> str:
    """Return a text that names the other operator who has asked for a stop; "" if nobody has.

    If the store fails, the answer is "", so that the app is started again.

    Args:
        breaker: the circuit that has the stops on record.
        since: time of the own stop, seconds since the epoch.
        by: the operator of the own stop.
    """
    try:
        chain = await breaker.approvals.status()
    except StoreUnavailableError:
        return ""
    stop, start = chain.stop, chain.start
    if stop is None or not stop.accepted or stop.at <= since or stop.by == by:
        return ""
    if start is not None and start.at >= stop.at:
        return ""
    return f"{stop.by or 'the workflow'} asked for a stop in the meantime"


async def _finish(starting: Coroutine[Any, Any, None]) -> None:
    """Wait until the app is started, also when the caller is cancelled."""
    task = asyncio.create_task(starting)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise
            cancelled = True
    task.result()
    if cancelled:
        raise asyncio.CancelledError
