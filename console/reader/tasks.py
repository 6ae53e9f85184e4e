"""Tasks of the elected reader: vitals, partitions, the live tail, lost redrives."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from breaker import CircuitBreaker
from console.backplane.coordination import Coordination
from console.errors import BackplaneError, CoordinationError, NotReaderError, OperationsError
from console.live.fanout import Fanout
from console.live.presence import PAGE, TAIL
from console.live.snapshot import COUNTERS
from console.poison.catalogue import Catalogue
from console.poison.counts import PoisonCounts
from console.poison.lazy_operations import LazyOperations, translate_errors
from console.poison.redrive import REDRIVE
from console.reader.election import Publish
from console.reader.vitals import GONE_SECONDS, VitalsSource, merge
from console.settings import ConsoleSettings

if TYPE_CHECKING:
    from processing.monitoring.overview import Partitions
    from processing.parking.store import ParkingStore

logger = logging.getLogger(__name__)

SECONDS = 1.0
PARTITIONS_SECONDS = 2.0
LISTED_SECONDS = 8.0
"""Time between two reads for the list of pipelines; numbers older than 15 s are not shown."""
LOST_CHECKS = 5
GAP_SECONDS = 10.0
RETRY_SECONDS = 5.0
END_SECONDS = 5.0
PROBLEM_CHARS = 500


class ReaderTasks:
    """The tasks of the elected reader, with what they need.

    Args:
        coordination: holds the marks of open pages, and the lease of a running redrive.
        fanout: the messages published so far, by any instance.
        vitals: source of the app's vitals.
        operations: open the hub and the storage.
        settings: the console's settings.
        catalogue: the messages of the poison queue.
        breaker: the circuit.
        dependencies: returns the circuits of the app's dependencies, by name.
        shared: holds the mark of a page of any pipeline; None: `coordination`.
    """

    def __init__(
        self,
        coordination: Coordination,
        fanout: Fanout,
        vitals: VitalsSource,
        operations: LazyOperations,
        settings: ConsoleSettings,
        *,
        catalogue: Catalogue,
        breaker: CircuitBreaker,
        dependencies: Callable[[], Mapping[str, CircuitBreaker]] = dict,
        shared: Coordination | None = None,
    ) -> None:
        self._shared = shared or coordination
        self._breaker = breaker
        self._dependencies = dependencies
        self._coordination = coordination
        self._fanout = fanout
        self._vitals = vitals
        self._operations = operations
        self._settings = settings
        self._counters: dict[str, int | None] = dict.fromkeys(COUNTERS)
        self._partitions: Partitions | None = None
        self._poison_counts = PoisonCounts(catalogue)

    async def vitals(self, publish: Publish) -> None:
        """Publish a row each second, which begins where the previous reader's last row ended."""
        await self._fanout.resume(None)  # wait until the messages published so far are read
        seen: dict[str, tuple[float, float, str]] = {}
        cursor, before = await self._last_row()
        while True:
            await asyncio.sleep(SECONDS)
            try:
                vitals = await self._vitals.behind(cursor)
            except BackplaneError as error:
                logger.debug("%s; the next row includes them", error)
                continue
            cursor = vitals[-1].cursor if vitals else cursor
            now = time.time()
            for entry in vitals:
                holding, problem = entry.numbers.get("holding", 0), entry.numbers.get("problem", "")
                seen[entry.instance] = (now, float(holding), str(problem))
            seen = {name: each for name, each in seen.items() if now - each[0] < GONE_SECONDS}
            row = merge(
                vitals,
                seconds=now - before,
                instances=len(seen),
                holding=[holding for _, holding, _ in seen.values()],
                problems=[problem for *_, problem in seen.values()],
            )
            before = now
            times = {"time": round(now * 1000), "signs": cursor}
            window = {"window_failures": self._breaker.circuit.failures}
            await _publish_or_skip(publish, "vitals", times | row | window | self._counters)

    async def partitions(self, publish: Publish) -> None:
        """Publish the partitions and the counters while a page is open.

        The pages of other pipelines only list this one, so their numbers are read less often.
        """
        problem, read_at = "", -LISTED_SECONDS
        while True:
            if await self._is_held(PAGE) or (
                time.monotonic() - read_at >= LISTED_SECONDS and await self._is_listed()
            ):
                read_at = time.monotonic()
                try:
                    table, before = await _finish_when_cancelled(self._read()), problem
                    problem = table["problem"] or ""
                except Exception as error:  # no error may stop the other tasks
                    kind = "" if isinstance(error, OperationsError) else f"{type(error).__name__}: "
                    problem, before = f"{kind}{error}", problem
                    table = {"time": _now(), "rows": [], "problem": problem}
                if problem not in ("", before):
                    logger.warning("partitions cannot be read; retrying: %s", problem)
                await _publish_or_skip(publish, "partitions", table)
            await asyncio.sleep(PARTITIONS_SECONDS)

    async def tail(self, publish: Publish) -> None:
        """Publish the live tail while a page shows the tail."""
        tailing: asyncio.Task[None] | None = None
        try:
            while True:
                watched = await self._is_held(TAIL)
                if tailing is not None and not watched:
                    await _end(tailing)
                if watched and (tailing is None or tailing.done()):
                    tailing = asyncio.create_task(self._tail(publish), name="console-tail")
                await asyncio.sleep(SECONDS)
        finally:
            if tailing is not None:
                await _end(tailing)

    async def lost_redrives(self, publish: Publish) -> None:
        """Announce the end of a redrive whose instance has stopped."""
        watched = 0
        while True:
            await asyncio.sleep(SECONDS)
            job = self._fanout.snapshot.redrive
            if job is None or job["done"] or await self._is_held(REDRIVE, unknown=True):
                watched = 0
                continue
            watched += 1
            if watched >= LOST_CHECKS:
                stopped = (
                    "the console instance that ran the redrive has stopped; start the redrive again"
                )
                await _publish_or_skip(publish, REDRIVE, job | {"done": True, "stopped": stopped})

    async def _last_row(self) -> tuple[str, float]:
        """Return the cursor and time of the last row, or of now after a gap of `GAP_SECONDS`."""
        while True:
            row: dict[str, Any] = self._fanout.snapshot.last_vitals or {}
            if row and time.time() - row["time"] / 1000 < GAP_SECONDS:
                return str(row["signs"]), row["time"] / 1000
            try:
                return await self._vitals.end(), time.time()
            except BackplaneError as error:
                logger.debug("%s; retrying", error)
                await asyncio.sleep(SECONDS)

    async def _read(self) -> dict[str, Any]:
        partitions = self._partitions
        if partitions is None:
            operations = await self._operations.module("processing.operations")
            opening: AbstractAsyncContextManager[Partitions] = operations.open_partitions(
                self._operations.settings,
                breaker=self._breaker,
                dependencies=self._dependencies,
                lease_seconds=self._settings.lease_seconds,
            )
            partitions = self._partitions = await self._operations.enter(opening)
        lists = await self._operations.parking()
        waiting = await translate_errors(count_waiting(lists.store))
        runs = await translate_errors(lists.runs.running())
        own, of_others = await self._poison_counts.split(await partitions.poison_count())
        self._counters = {
            "poison_count": own,
            "poison_of_others": of_others,
            "parked_keys": waiting.keys,
            "deferred_keys": waiting.deferred,
        }
        return await translate_errors(partitions.table()) | {
            "waiting_keys": waiting.needs,
            "redrives": [{"where": run.where, "line": run.line} for run in runs],
        }

    async def _tail(self, publish: Publish) -> None:
        async def show(sample: dict[str, Any]) -> None:
            await _publish_or_skip(publish, "tail", sample)

        async def report(problem: str) -> None:
            logger.warning("the live tail cannot be read; retrying: %s", problem)
            await show({"time": _now(), "problem": problem[:PROBLEM_CHARS]})

        try:
            operations = await self._operations.module("processing.operations")
            tail = await self._operations.module("console.reader.tail")
            opening = operations.open_hub(
                self._operations.settings, group=self._settings.consumer_group
            )
            async with opening as client:
                await tail.Tail(client, show, report).run()
        except NotReaderError:
            raise
        except Exception as error:
            await report(f"{type(error).__name__}: {error}")
            await asyncio.sleep(RETRY_SECONDS)

    async def _is_listed(self) -> bool:
        """Return whether a page of another pipeline is open."""
        try:
            return self._shared is not self._coordination and bool(await self._shared.holder(PAGE))
        except CoordinationError:
            return False

    async def _is_held(self, name: str, *, unknown: bool = False) -> bool:
        try:
            return bool(await self._coordination.holder(name))
        except CoordinationError:
            return unknown


@dataclass(frozen=True, slots=True)
class Waiting:
    """The numbers of keys with a list.

    Attributes:
        keys: number of all keys.
        deferred: number of the deferred keys.
        needs: number of the deferred keys by the dependency that they wait for.
    """

    keys: int
    deferred: int
    needs: Mapping[str, int]


async def count_waiting(store: ParkingStore) -> Waiting:
    """Count the keys with a list, with at most two calls for each partition.

    Raises:
        StorageUnavailableError: the store did not answer.
    """
    keys, deferred, needs = 0, 0, Counter[str]()
    for source in await store.sources():
        numbers = await store.summary(source)
        keys, deferred = keys + numbers.keys, deferred + numbers.deferred
        if numbers.deferred:
            needs.update(await store.needs(source))
    return Waiting(keys, deferred, {name: number for name, number in needs.items() if name})


async def _publish_or_skip(publish: Publish, kind: str, data: dict[str, Any]) -> None:
    try:
        await publish(kind, data)
    except BackplaneError as error:
        logger.debug("a message of kind %r was not published: %s", kind, error)


async def _finish_when_cancelled[T](reading: Coroutine[Any, Any, T]) -> T:
    """Return the result; when cancelled, first wait `END_SECONDS` for the reading to end.

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
