"""The end of a rewind whose console instance has died: the app is started again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from breaker import CircuitBreaker
from breaker.chain import StepKind
from console.backplane.coordination import Coordination
from console.errors import BackplaneError, CoordinationError
from console.live.fanout import Fanout
from console.rewind.api import REASON, REWIND
from processing.site.acts import act
from processing.site.restart import stopped_by_others
from processing.site.statement import PRESS_START
from processing.site.watch import SiteWatch

logger = logging.getLogger(__name__)

SECONDS = 1.0
LOST_CHECKS = 15
"""Checks in a row without a lease after which a job is lost; the lease is renewed every 5 s."""
RETRY_SECONDS = 10.0
UNKNOWN = (
    "The console instance that ran the rewind has stopped; a new plan shows what is left to rewind."
)

type Publish = Callable[[str, dict[str, Any]], Awaitable[None]]


class LostRewinds:
    """A task of the elected instance that ends the rewinds of dead instances.

    Args:
        coordination: holds the lease of a running rewind.
        fanout: the messages published so far, by any instance.
        breaker: the circuit, whose history gets the start.
        watch: names the function app.
        others: the circuits of the app's other pipelines, which stop and start with it.
        sleep: pauses between two checks.
    """

    def __init__(
        self,
        coordination: Coordination,
        fanout: Fanout,
        breaker: CircuitBreaker,
        watch: SiteWatch,
        *,
        others: Sequence[CircuitBreaker] = (),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._coordination = coordination
        self._fanout = fanout
        self._breaker = breaker
        self._watch = watch
        self._others = others
        self._sleep = sleep

    async def run(self, publish: Publish) -> None:
        """Start the app that a dead instance has stopped, and announce the end of its rewind."""
        watched = 0
        while True:
            await self._sleep(SECONDS)
            job = self._fanout.snapshot.rewind
            if job is None or job["done"] or await self._is_held():
                watched = 0
                continue
            watched += 1
            if watched < LOST_CHECKS:
                continue
            lines, ended = await self._end(job)
            result = job | {"lines": [UNKNOWN, *lines], "failed": True, "done": ended}
            try:
                await publish(REWIND, result)
            except BackplaneError as error:
                logger.debug("the end of a rewind was not published: %s", error)
            if not ended:
                await self._sleep(RETRY_SECONDS)

    async def _end(self, job: dict[str, Any]) -> tuple[list[str], bool]:
        """Return what became of the app, and whether nothing is left to do."""
        if job["stopped_at"] is None:
            return ["The rewind had not stopped the app."], True
        if self._watch.site is None:
            return [f"The app may be left stopped. {PRESS_START}"], True
        for breaker in (self._breaker, *self._others):
            if why := await stopped_by_others(breaker, job["stopped_at"], job["by"]):
                return [f"The app is left stopped: {why}. {PRESS_START}"], True
        done = await act(
            *(StepKind.START, self._watch.site, self._breaker),
            by=job["by"],
            reason=REASON,
            others=self._others,
        )
        if done.error is None:
            return ["A start of the app was asked for, and accepted."], True
        logger.error("the app stopped by a rewind was not started; retrying: %s", done.error)
        return [f"The app is left stopped: {done.error}. The console asks again."], False

    async def _is_held(self) -> bool:
        try:
            return bool(await self._coordination.holder(REWIND))
        except CoordinationError:
            return True
