"""Crash loops as one instance sees them: its openings, its careful mode and its heartbeat."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

from breaker import Circuit
from processing.crashes.alone import AloneCalls, Invocation
from processing.crashes.careful import CarefulMode
from processing.crashes.memory_errors import end_process, is_memory_error
from processing.crashes.process import ProcessName
from processing.crashes.records import Opening, opening_text, parsed
from processing.crashes.rules import BEAT_SECONDS
from processing.crashes.store import CrashStore
from processing.errors import CrashLoopError, StorageUnavailableError
from processing.event import Event
from processing.formats.event_fields import key_hash, log_fields
from processing.identity import Source
from processing.parking.event import ListKey

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 2.0
"""Longest time for which the removal of a record delays the end of an invocation."""

type Handle = Callable[[Event], Awaitable[None]]


class CrashLoops:
    """Crash loops as one instance sees them.

    A crash is an opening of a batch whose invocation neither returned nor raised, and whose process
    has died. After `careful_after` crashes at one first unfinished event, the whole process handles
    one event at a time, until the invocation that began this has ended.
    docs/adr/0028-careful-mode.md gives the reasons.

    Args:
        store: the records of all instances.
        careful_after: number of crashes after which careful mode begins.
        hold_seconds: longest time for which a store that does not answer delays a call.
        circuit: returns the app's circuit.
        in_flight: returns the number of calls of the handler that run.
        careful: the careful mode of the process, which all its pipelines share, instead of one with
            `in_flight`.
        instance: the name of this instance in logs.
        process: the name of this process.
        end: ends the process after a `MemoryError`.
    """

    def __init__(
        self,
        store: CrashStore,
        *,
        careful_after: int,
        hold_seconds: float,
        circuit: Callable[[], Circuit],
        in_flight: Callable[[], int] = lambda: 0,
        careful: CarefulMode | None = None,
        instance: str = "",
        process: ProcessName | None = None,
        end: Callable[[Event, BaseException], None] = end_process,
    ) -> None:
        self._store = store
        self._careful_after = careful_after
        self._process = process or ProcessName.current()
        self._instance = instance or f"-:{os.getpid()}"
        self._end = end
        self.careful = careful or CarefulMode(in_flight)
        self.switch = self.careful.switch
        self._invocations: dict[Source, Invocation] = {}
        self._calls = AloneCalls(
            self.careful,
            store,
            self._process,
            circuit=circuit,
            find_dead=self._find_dead,
            hold_seconds=hold_seconds,
            find=self._invocations.get,
        )
        self._open: set[Source] = set()
        self._replays: set[tuple[Source, ListKey]] = set()
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def problem(self) -> str | None:
        """The reason for which careful mode is on, for health and console; None: it is off."""
        if not self.careful.on:
            return None
        reasons = " ".join(self.careful.reasons).rstrip(".")
        return f"careful mode is on: this process handles one event at a time. {reasons}"

    def began(self, source: Source, invocation: Invocation) -> None:
        """Note that an invocation for a partition begins."""
        self._invocations[source] = invocation

    def opening(self, source: Source, events: Sequence[Event]) -> str:
        """Return the opening that the claim on a batch's partition records; "" without events.

        Args:
            source: the partition.
            events: the events, sorted by their sequence numbers.
        """
        if not events:
            return ""
        self._open.add(source)
        first, last = events[0].sequence_number, events[-1].sequence_number
        return opening_text(self._process, first, last, self._instance)

    async def judge(self, openings: Sequence[str], first: Event) -> None:
        """Begin careful mode if processes have died again and again at one event.

        Args:
            openings: the openings of other processes, from the claim.
            first: the first unfinished event of the batch.
        """
        known = [each for each in parsed(Opening, openings) if each.includes(first.sequence_number)]
        dead = await self._find_dead(each.process for each in known)
        crashes = [each for each in known if each.process in dead]
        if not crashes:
            return
        names = ", ".join(dict.fromkeys(each.instance for each in crashes))
        text = (
            f"{_processes(crashes)} ({names}) died while event {first.id} was unfinished and "
            "the first of its partition."
        )
        if len(crashes) >= self._careful_after:
            self.careful.begin(first.source, text)
        else:
            logger.warning(
                "%s Careful mode begins after %s such deaths",
                *(text, self._careful_after),
                extra=log_fields(first),
            )

    async def ended(self, source: Source, error: BaseException | None) -> None:
        """Note that an invocation has ended.

        After a return, the progress of the partition covers the batch, so nothing is written. A
        cancellation may be the end of the process, so the opening stays.
        """
        self.careful.end(source)
        self._invocations.pop(source, None)
        was_open = source in self._open
        self._open.discard(source)
        if was_open and isinstance(error, Exception):
            await self._close(source)

    async def replay_begins(self, source: Source, key: ListKey) -> None:
        """Record that a turn of replays of a deferred key begins with its first event.

        A store that does not answer delays no replay: then this turn leaves no record.
        """
        place = (source, key)
        self._replays.add(place)
        try:
            others = await self._store.open_replay(*place, self._process)
        except StorageUnavailableError as error:
            logger.debug("A replay is not recorded: %s", error)
            return
        crashes = await self._find_dead(others)
        if len(crashes) >= self._careful_after:
            self.careful.begin(
                place,
                f"{_processes(crashes)} died while replaying the deferred key with hash "
                f"{key_hash(key if isinstance(key, str) else None) or '(none)'} of partition "
                f"{source}.",
            )

    async def replay_ended(self, source: Source, key: ListKey, *, moved: bool) -> None:
        """Note that a turn of replays has ended; `moved`: an event of the key was finished."""
        place = (source, key)
        self.careful.end(place)
        if place in self._replays:
            self._replays.discard(place)
            await self._written(self._store.close_replay(*place, self._process, moved=moved))

    def stop(self) -> None:
        """Remove the records of this process, because the process was asked to stop."""
        for source in self._open:
            self._start(self._close(source))
        for place in self._replays:
            close = self._store.close_replay(*place, self._process, moved=False)
            self._start(self._written(close))
        self._start(self._calls.stop())

    @property
    def is_mine(self) -> bool:
        """Return whether the current task makes a call that is recorded."""
        return self._calls.is_mine

    async def run(self, handle: Handle, event: Event) -> None:
        """Handle an event alone; see `AloneCalls.run`."""
        await self._calls.run(handle, event)

    async def poisoned(self, event: Event, error: BaseException) -> None:
        """Note that the poison queue or a parked list has an event that failed with an error.

        The deaths of an event that ends its process stay recorded until then. Otherwise the event
        would end further processes after an outage of the queue.
        """
        if isinstance(error, CrashLoopError):
            await self._calls.forget(event)

    def failed(self, event: Event, error: BaseException) -> None:
        """End the process if a call of the handler had no memory left."""
        if is_memory_error(error):
            self._end(event, error)

    async def beat(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Record heartbeats until the task is cancelled; then forget the process."""
        try:
            while True:
                try:
                    await self._store.beat(self._process)
                except StorageUnavailableError as error:
                    logger.debug("A heartbeat was not recorded: %s", error)
                await sleep(BEAT_SECONDS)
        except asyncio.CancelledError:
            await self._written(self._store.leave(self._process))
            raise

    async def _find_dead(self, processes: Iterable[ProcessName]) -> Collection[ProcessName]:
        """Return the processes that have died, and record that they were found dead now.

        These processes do not count as having died together with a run that begins after this.
        """
        dead = [each for each in dict.fromkeys(processes) if await self._has_died(each)]
        if dead:
            try:
                await self._store.found_dead(dead)
            except StorageUnavailableError as error:
                logger.debug("Dead processes were not recorded: %s", error)
        return dead

    async def _has_died(self, process: ProcessName) -> bool:
        """Return whether a process has died; False as long as nobody knows."""
        if process == self._process:
            return False
        if (died := process.has_died()) is not None:
            return died
        try:
            return await self._store.is_silent(process)
        except StorageUnavailableError:
            return False

    async def _close(self, source: Source) -> None:
        await self._written(self._store.close(source, self._process))

    @staticmethod
    async def _written(write: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await write
        except (StorageUnavailableError, TimeoutError) as error:
            logger.warning(
                "The record of this process's work was not removed (%s); if the process is killed "
                "later, the record may count as one crash",
                error or "no answer",
            )

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._closing.add(task)  # the loop itself keeps no strong reference
        task.add_done_callback(self._closing.discard)


def _processes(crashes: Collection[object]) -> str:
    return "1 process" if len(crashes) == 1 else f"{len(crashes)} processes"
