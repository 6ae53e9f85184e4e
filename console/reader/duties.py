"""What the elected reader does, each second or so: vitals, partitions, the tail, lost redrives."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from console.backplane.coordination import Coordination
from console.errors import BackplaneError, CoordinationError, NotReaderError, ToolsError
from console.live.fanout import Fanout
from console.live.presence import PAGE, TAIL
from console.poison.lazy_operations import Tools, told
from console.poison.redrive import REDRIVE
from console.reader.election import Say
from console.reader.vitals import GONE_SECONDS, VitalSigns, merge
from console.settings import ConsoleSettings

if TYPE_CHECKING:
    from processing.partitions.overview import Partitions

logger = logging.getLogger(__name__)

SECONDS = 1.0
PARTITIONS_SECONDS = 2.0
LOST_LOOKS = 5
GAP_SECONDS = 10.0
RETRY_SECONDS = 5.0
END_SECONDS = 5.0
PROBLEM_CHARS = 500


class Duties:
    """The duties, and what they need.

    Args:
        coordination: knows who looks, and whether a redrive's instance lives.
        fanout: what was published before, by this instance or another.
        signs: where the app writes its vitals.
        tools: the hub and the storage.
        settings: the console's.
        failures: how many are inside the circuit's window now.
    """

    def __init__(
        self,
        coordination: Coordination,
        fanout: Fanout,
        signs: VitalSigns,
        tools: Tools,
        settings: ConsoleSettings,
        *,
        failures: Callable[[], int],
    ) -> None:
        self._failures = failures
        self._coordination = coordination
        self._fanout = fanout
        self._signs = signs
        self._tools = tools
        self._settings = settings
        self._counters: dict[str, int | None] = {"poison_count": None, "parked_keys": None}
        self._partitions: Partitions | None = None

    async def vitals(self, say: Say) -> None:
        """A row each second, begun where the row before it ended, whoever wrote that."""
        await self._fanout.resume(None)  # what was published before is known then
        seen: dict[str, tuple[float, float]] = {}
        cursor, before = await self._last_row()
        while True:
            await asyncio.sleep(SECONDS)
            try:
                signs = await self._signs.behind(cursor)
            except BackplaneError as error:
                logger.debug("%s", error)
                continue
            cursor = signs[-1].cursor if signs else cursor
            now = time.time()
            for sign in signs:
                seen[sign.instance] = (now, float(sign.numbers.get("holding", 0)))
            seen = {name: each for name, each in seen.items() if now - each[0] < GONE_SECONDS}
            row = merge(
                signs,
                seconds=now - before,
                instances=len(seen),
                holding=[holding for _, holding in seen.values()],
            )
            before = now
            times = {"time": round(now * 1000), "signs": cursor}
            window = {"window_failures": self._failures()}
            await _try(say, "vitals", times | row | window | self._counters)

    async def partitions(self, say: Say) -> None:
        """The table and the counters, while somebody has the page open."""
        problem = ""
        while True:
            if await self._somebody(PAGE):
                try:
                    table, before = await _whole(self._read()), problem
                    problem = table["problem"] or ""
                except Exception as error:  # whatever it is, vitals and tail go on
                    kind = "" if isinstance(error, ToolsError) else f"{type(error).__name__}: "
                    problem, before = f"{kind}{error}", problem
                    table = {"time": _now(), "rows": [], "problem": problem}
                if problem not in ("", before):
                    logger.warning("partitions cannot be read: %s", problem)
                await _try(say, "partitions", table)
            await asyncio.sleep(PARTITIONS_SECONDS)

    async def tail(self, say: Say) -> None:
        """The live tail, while somebody looks at it."""
        tailing: asyncio.Task[None] | None = None
        try:
            while True:
                looks = await self._somebody(TAIL)
                if tailing is not None and not looks:
                    await _end(tailing)
                if looks and (tailing is None or tailing.done()):
                    tailing = asyncio.create_task(self._tail(say), name="console-tail")
                await asyncio.sleep(SECONDS)
        finally:
            if tailing is not None:
                await _end(tailing)

    async def lost_redrives(self, say: Say) -> None:
        """Say that a redrive is over whose instance has died."""
        looks = 0
        while True:
            await asyncio.sleep(SECONDS)
            job = self._fanout.snapshot.redrive
            if job is None or job["done"] or await self._somebody(REDRIVE, unknown=True):
                looks = 0
                continue
            looks += 1
            if looks >= LOST_LOOKS:
                stopped = "the instance of the console that ran it has ended; run it again"
                await _try(say, REDRIVE, job | {"done": True, "stopped": stopped})

    async def _last_row(self) -> tuple[str, float]:
        """Where the last row ended, and when; rows do not reach over a longer gap."""
        while True:
            row: dict[str, Any] = self._fanout.snapshot.last_vitals or {}
            if row and time.time() - row["time"] / 1000 < GAP_SECONDS:
                return str(row["signs"]), row["time"] / 1000
            try:
                return await self._signs.end(), time.time()
            except BackplaneError as error:
                logger.debug("%s", error)
                await asyncio.sleep(SECONDS)

    async def _read(self) -> dict[str, Any]:
        partitions = self._partitions
        if partitions is None:
            operations = await self._tools.module("processing.operations")
            opening: AbstractAsyncContextManager[Partitions] = operations.open_partitions(
                self._tools.settings, lease_seconds=self._settings.lease_seconds
            )
            partitions = self._partitions = await self._tools.enter(opening)
        parking = await self._tools.parking()
        self._counters = {
            "poison_count": await partitions.poison_count(),
            "parked_keys": len(await told(parking.keys())),
        }
        return await told(partitions.table())

    async def _tail(self, say: Say) -> None:
        async def show(sample: dict[str, Any]) -> None:
            await _try(say, "tail", sample)

        async def tell(problem: str) -> None:
            logger.warning("no live tail just now: %s", problem)
            await show({"time": _now(), "problem": problem[:PROBLEM_CHARS]})

        try:
            operations = await self._tools.module("processing.operations")
            tail = await self._tools.module("console.reader.tail")
            opening = operations.open_hub(self._tools.settings, group=self._settings.consumer_group)
            async with opening as client:
                await tail.Tail(client, show, tell).run()
        except NotReaderError:
            raise
        except Exception as error:
            await tell(f"{type(error).__name__}: {error}")
            await asyncio.sleep(RETRY_SECONDS)

    async def _somebody(self, name: str, *, unknown: bool = False) -> bool:
        try:
            return bool(await self._coordination.holder(name))
        except CoordinationError:
            return unknown


async def _try(say: Say, kind: str, data: dict[str, Any]) -> None:
    try:
        await say(kind, data)
    except BackplaneError as error:
        logger.debug("%s", error)


async def _whole[T](reading: Coroutine[Any, Any, T]) -> T:
    """Await something whose end is worth waiting for even when this is cancelled.

    The Event Hubs SDK loses the connection of a management request that is cancelled.
    """
    task = asyncio.create_task(reading)
    try:
        return await asyncio.shield(task)
    finally:
        if not task.done():
            await asyncio.wait({task}, timeout=END_SECONDS)
            await _end(task)


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _now() -> int:
    return time.time_ns() // 1_000_000
