"""The background work of one instance: judges, logs, reports and surveys the partitions."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from processing.errors import StorageUnavailableError
from processing.monitoring.fleet import OLD_SECONDS, REPORT_SECONDS, FleetStates
from processing.monitoring.partition_state import PartitionState, State
from processing.monitoring.stall import Watch
from processing.monitoring.stall_log import StallLog
from processing.monitoring.survey import Sighting, Survey, worst
from processing.partitions.hub_created import HubCreated
from processing.partitions.lag import PartitionLag

logger = logging.getLogger(__name__)

TICK_SECONDS = 1.0
END_SECONDS = 2.0
"""Longest time for which a cancelled round may end its requests."""


class Watching:
    """A watch's background work on one instance.

    Args:
        watch: the watch, which the processor calls.
        fleet: receives the states of this instance.
        survey: surveys all partitions when it is this instance's turn.
        instance: the name of this instance.
        created: the hub's time of creation, which the processor compares with its progress.
        pipeline: see `StallLog`.
        clock: returns seconds that never decrease.
    """

    def __init__(
        self,
        watch: Watch,
        fleet: FleetStates,
        survey: Survey,
        instance: str,
        *,
        created: HubCreated | None = None,
        pipeline: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watch = watch
        self._survey = survey
        self._instance = instance
        self._created = created
        self._fleet = fleet
        self._clock = clock
        self._log = StallLog(pipeline)
        self._own: tuple[PartitionState, ...] = ()
        self._sighting: Sighting | None = None
        self._seen_at = 0.0
        self._reported = True  # an earlier process may have had the same name

    @property
    def partitions(self) -> tuple[PartitionLag, ...]:
        """The partitions that this instance has surveyed lately; empty if another instance does."""
        sighting = self._sighting
        return () if sighting is None else sighting.partitions

    @property
    def replays_stopped(self) -> bool | None:
        """True if the timer of the replays should run and does not; None: not surveyed."""
        return None if self._sighting is None else self._sighting.replays_stopped

    @property
    def states(self) -> tuple[PartitionState, ...]:
        """The states of this instance's partitions, and of those that it has surveyed."""
        own, sighting = self._own, self._sighting
        if sighting is None:
            return own
        # The survey knows since when the whole fleet has seen an event; the watch is fresher.
        found = {(each.partition, each.deferred): each for each in sighting.states}
        for each in own:
            known = found.get((each.partition, False))
            found[each.partition, False] = (known and worst((known, each))) or each
        return tuple(found.values())

    async def run(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Work until cancelled; a slow hub delays neither the judging nor the reports."""

        async def once(work: Callable[[], Awaitable[None]]) -> None:
            try:
                await work()
            except StorageUnavailableError as error:
                logger.debug("A round of the watch failed; the next round retries: %s", error)
            except Exception:
                logger.exception("A round of the watch failed; the next round retries")

        async def repeat(
            work: Callable[[], Awaitable[None]], seconds: float, delay: float = 0.0
        ) -> None:
            await sleep(delay)
            while True:
                await _finish_when_cancelled(asyncio.ensure_future(once(work)))
                await sleep(seconds)

        async with asyncio.TaskGroup() as group:
            group.create_task(repeat(self.judge, TICK_SECONDS))
            group.create_task(repeat(self.report, REPORT_SECONDS))
            # The first survey would compete with the first batches, and has nothing to compare.
            group.create_task(repeat(self.survey, REPORT_SECONDS, REPORT_SECONDS))
            group.create_task(repeat(self.read_created, REPORT_SECONDS, REPORT_SECONDS))

    async def judge(self) -> None:
        """Judge this instance's partitions, and log the stalled ones."""
        self._own = tuple(self._watch.states())
        now = self._clock()
        if self._sighting is not None and now - self._seen_at > OLD_SECONDS:
            self._sighting = None
        self._log.write(self.states, now)

    async def report(self) -> None:
        """Report this instance's partitions to the fleet.

        Raises:
            StorageUnavailableError: Redis does not answer.
        """
        # An event of the last seconds is no news, and a healthy instance sends no command for it.
        lasting = [
            each
            for each in self._own
            if each.state is not State.OK or each.seconds >= REPORT_SECONDS
        ]
        if lasting or self._reported:
            await self._fleet.report(self._instance, lasting)
            self._reported = bool(lasting)

    async def read_created(self) -> None:
        """Read the hub's time of creation, unless the survey has read the time lately.

        Raises:
            StorageUnavailableError: the hub does not answer.
        """
        if self._created is not None:
            await self._created.latest()

    async def survey(self) -> None:
        """Survey all partitions if it is this instance's turn.

        Raises:
            StorageUnavailableError: Redis or the hub does not answer.
        """
        if not await self._fleet.take_turn(self._instance):
            self._sighting = None
            return
        self._sighting = await self._survey.look(self._own, instance=self._instance)
        self._seen_at = self._clock()


async def _finish_when_cancelled(round_: asyncio.Future[None]) -> None:
    """Wait for a round; when cancelled, give the round `END_SECONDS` to end.

    A request that is cancelled while it connects leaves its connection open.
    """
    try:
        await asyncio.shield(round_)
    finally:
        if not round_.done():
            await asyncio.wait({round_}, timeout=END_SECONDS)
            round_.cancel()
            await asyncio.gather(round_, return_exceptions=True)
