"""Calls of the handler in careful mode: each event runs alone, and is recorded before."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from typing import Protocol

from breaker import Circuit, CircuitOpenError, CircuitState
from processing.crashes.careful import CarefulMode
from processing.crashes.process import ProcessName
from processing.crashes.records import AloneRun
from processing.crashes.rules import (
    ALONE_DEATHS_MAX,
    SEEN_SECONDS,
    SIGN_OF_LIFE_SECONDS,
    ends_its_process,
    pause_seconds,
)
from processing.crashes.store import CrashStore
from processing.crashes.together import deaths_of_one
from processing.errors import CrashLoopError, StorageUnavailableError
from processing.event import Event
from processing.formats.event_fields import log_fields
from processing.handlers.raised import NotRecordedError, NotStartedError, is_invocation_cancelled
from processing.identity import Source
from processing.parking.event import Position, position_of

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 0.5

type Handle = Callable[[Event], Awaitable[None]]


class Invocation(Protocol):
    """An invocation, as the calls in careful mode see it."""

    @property
    def is_halted(self) -> bool:
        """Return whether the invocation starts no further event."""

    async def check_after_wait(self) -> None:
        """Halt the invocation if another instance has claimed its partition."""


class AloneCalls:
    """The calls of the handler in careful mode.

    Args:
        careful: whose turn it is.
        store: has the record of each call.
        process: the name of this process.
        circuit: returns the app's circuit.
        find_dead: returns the processes that have died.
        hold_seconds: longest time for which a store that does not answer delays a call.
        find: returns the invocation of a partition, if one runs here.
    """

    def __init__(
        self,
        careful: CarefulMode,
        store: CrashStore,
        process: ProcessName,
        *,
        circuit: Callable[[], Circuit],
        find_dead: Callable[[Iterable[ProcessName]], Awaitable[Collection[ProcessName]]],
        hold_seconds: float,
        find: Callable[[Source], Invocation | None],
    ) -> None:
        self._find = find
        self._careful = careful
        self._store = store
        self._process = process
        self._circuit = circuit
        self._find_dead = find_dead
        self._hold_seconds = hold_seconds
        self._stopping = asyncio.Event()
        self._running: tuple[asyncio.Task[object] | None, Source] | None = None

    @property
    def is_mine(self) -> bool:
        """Return whether the current task makes a call that is recorded."""
        return self._running is not None and self._running[0] is asyncio.current_task()

    def stop(self) -> Awaitable[None]:
        """Start no further call; the result removes the record of the call that runs."""
        self._stopping.set()
        return self._remove_record()

    async def _remove_record(self) -> None:
        if self._running is not None:
            with suppress(StorageUnavailableError):
                await self._store.end(self._running[1], self._process)

    async def run(self, handle: Handle, event: Event) -> None:
        """Handle an event alone, or poison an event that ends each process that handles it.

        Raises:
            CircuitOpenError: the circuit opened while the event waited for its turn.
            CrashLoopError: the event ends its process.
            NotStartedError: the instance is shutting down, or the invocation was halted.
            NotRecordedError: the store did not answer; the handler was not called.
            BaseException: an error of the handler.
        """
        lent = not self._careful.has_turn
        try:
            if lent:
                await self._wait_for_turn(event.source)
            if self._careful.on:
                await self._run(handle, event)
            else:
                await handle(event)
        finally:
            if lent:
                self._careful.leave()

    async def forget(self, event: Event) -> None:
        """Forget the deaths of an event that has gone to the poison queue."""
        with suppress(StorageUnavailableError):  # the records of later events replace these
            await self._store.forget(event.source, position_of(event))

    async def _wait_for_turn(self, source: Source) -> None:
        known = self._circuit()
        while not await self._careful.take_turn():
            self._check_start(source)
        await self._check_invocation(source)
        now = self._circuit()
        halves = now.state is CircuitState.HALF_OPEN and not now.holding
        if now.generation != known.generation or not (now.admits or halves):
            raise CircuitOpenError(now)

    async def _run(self, handle: Handle, event: Event) -> None:
        position = position_of(event)
        deaths = await self._deaths(event, position)
        if deaths:
            self._check_start(event.source)
            await self._judge(event, position, deaths)
        # This heartbeat shows that this process did not die in an earlier run of the event.
        await self._persist(event.source, self._store.beat, self._process)
        await self._persist(event.source, self._store.begin, event.source, self._process, position)
        if self._stopping.is_set():  # since then; nobody else would remove the record
            with suppress(StorageUnavailableError):
                await self._store.end(event.source, self._process)
            raise _not_started()
        self._running = (asyncio.current_task(), event.source)
        signs = asyncio.create_task(self._show_life(event.source, position))
        try:
            await handle(event)
        except BaseException:
            # At the end of the process all tasks are cancelled, and the record stays. The handler
            # may turn its cancellation into another error. Otherwise the deaths of the event stay:
            # it may still end its next process.
            if not is_invocation_cancelled():
                await self._end(signs, event.source)
            raise
        else:
            await self._end(signs, event.source, position)
        finally:
            signs.cancel()
            self._running = None

    async def _end(
        self, signs: asyncio.Task[None], source: Source, position: Position = ""
    ) -> None:
        signs.cancel()  # a late sign of life must not follow the end
        await asyncio.gather(signs, return_exceptions=True)
        with suppress(StorageUnavailableError):  # the record of the next event replaces this one
            await self._store.end(source, self._process, position)

    async def _deaths(self, event: Event, position: Position) -> list[AloneRun]:
        """Return the event's earlier runs at whose end its process died."""
        runs = await self._persist(event.source, self._store.runs, event.source, position)
        others = [run for run in runs if run.process != self._process]
        dead = await self._find_dead(run.process for run in others)
        return [run for run in others if run.process in dead]

    async def _judge(self, event: Event, position: Position, deaths: list[AloneRun]) -> None:
        """Raise the verdict on an event that ends its process, or pause before its next run."""
        times = ", ".join(f"{run.seconds:.1f}" for run in deaths)
        if await self._is_to_blame(event, deaths):
            raise CrashLoopError(
                f"the event was the only one in flight at the death of {len(deaths)} processes, "
                f"which had run it for {times} s; it ends each process that handles it"
            )
        pause = min(pause_seconds(deaths), self._hold_seconds)
        logger.warning(
            "Event %s was alone in flight at the death of a process, %s times so far, after %s s; "
            "the event runs again after a pause of %.1f s",
            *(event.id, len(deaths), times, pause),
            extra=log_fields(event),
        )
        await self._pause(pause)
        await self._check_invocation(event.source)

    async def _is_to_blame(self, event: Event, deaths: list[AloneRun]) -> bool:
        """Return whether an event ends its process.

        A death does not count if other processes died at the same time, as at a deploy. Some
        seconds pass until their deaths are known, so this call may wait.
        """
        if len(deaths) >= ALONE_DEATHS_MAX or not ends_its_process(deaths):
            return len(deaths) >= ALONE_DEATHS_MAX
        now = asyncio.get_running_loop().time
        deadline = now() + min(SEEN_SECONDS, self._hold_seconds)
        while True:
            args = (self._store, self._process, deaths)
            counted, final = await self._persist(event.source, deaths_of_one, *args)
            if ends_its_process(counted):
                return True
            if final or now() >= deadline:
                break
            await self._pause(_RETRY_SECONDS)
            await self._check_invocation(event.source)
        logger.warning(
            "Event %s is not blamed yet: other processes died at the same time as at %s of its "
            "deaths, as at a deploy",
            *(event.id, len(deaths) - len(counted)),
            extra=log_fields(event),
        )
        return False

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _show_life(self, source: Source, position: Position) -> None:
        while True:
            await asyncio.sleep(SIGN_OF_LIFE_SECONDS)
            with suppress(StorageUnavailableError):
                await self._store.still_runs(source, self._process, position)

    async def _persist[*Ts, T](
        self, source: Source, call: Callable[[*Ts], Awaitable[T]], *args: *Ts
    ) -> T:
        """Call the store until it answers: without a record, no event starts in careful mode.

        Args:
            source: the partition of the event; the calls stop when its invocation ends.
            call: a call of the store.
            args: its arguments.
        """
        now = asyncio.get_running_loop().time
        deadline = now() + self._hold_seconds
        while True:
            try:
                return await call(*args)
            except StorageUnavailableError as error:
                if now() >= deadline:
                    raise NotRecordedError(
                        "the event did not run, because its run could not be recorded for "
                        f"{self._hold_seconds:g} s; last error: {error}"
                    ) from error
            await self._pause(_RETRY_SECONDS)
            self._check_start(source)

    def _check_start(self, source: Source) -> None:
        invocation = self._find(source)
        if self._stopping.is_set() or (invocation is not None and invocation.is_halted):
            raise _not_started()

    async def _check_invocation(self, source: Source) -> None:
        """Check after a wait that the partition's invocation may start events.

        Other calls may have used up its time, and a crash loop moves partitions.
        """
        self._check_start(source)
        if (invocation := self._find(source)) is not None:
            await invocation.check_after_wait()
            self._check_start(source)


def _not_started() -> NotStartedError:
    return NotStartedError(
        "the instance is shutting down, or the invocation has ended; the event was not started"
    )
