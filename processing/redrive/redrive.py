"""Redrive: replays poisoned events, and the events parked behind them, through the handler.

Keys are replayed in parallel, each under its own lease, so that two redrives never replay the same
key at the same time. A redrive stops while the circuit is open, but does not report its outcomes to
the circuit: a replay of selected events shows nothing new about the dependency.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager

from processing.dependencies.circuits import Circuits
from processing.handlers.loading import LoadedHandler
from processing.handlers.retry import RetryPolicy
from processing.identity import Identity
from processing.parking.batch import Parking
from processing.poison.index.index import IndexState, PoisonIndex
from processing.poison.message import PoisonMessage
from processing.poison.queue import PoisonQueue, PoisonReader
from processing.redrive.context import RedriveRun
from processing.redrive.discard import Discard
from processing.redrive.held_messages import HeldMessages
from processing.redrive.indexed_reader import IndexedReader
from processing.redrive.planning import (
    count_held,
    plan_of,
    selected_pages,
    someone_redrives_all,
    take_named,
)
from processing.redrive.replaying import Replaying
from processing.redrive.run_store import MemoryRunStore, RunningRedrive
from processing.redrive.runs import RedriveRuns, Run
from processing.redrive.selection import Place, Plan, Selection
from processing.redrive.summary import RedriveCounts, RedriveFailure, RedriveSummary
from processing.redrive.trust import Compare, trusted_state
from processing.redrive.window import WINDOW


class Redrive:
    """A replay of one app's poison messages and parked keys.

    Args:
        own: the app; messages of other apps are left alone.
        reader: reads the poison queue.
        poison: stores the messages of parked events that fail in the redrive.
        parking: the parked lists.
        handler: handles each event.
        retry: retries each event.
        admits: returns whether the circuit admits events.
        instance: this instance's name in poison messages.
        lease_seconds: time after which a key's lease expires if the redrive dies; longer than
            `call_seconds`.
        call_seconds: longest time of one call of the handler.
        most_keys: most keys that are replayed at the same time.
        discard: an event that is recorded as discarded instead of being handled.
        parks: whether a poisoned event parks its key; otherwise a deferred key continues after it.
        dependencies: the circuits of the app's dependencies; None: `dependency()` does nothing.
        index: the index of the poison queue; None: the whole queue is received and held.
        compare: compares the index with the queue; None: nothing does.
        runs: the running redrives of the app; None: they are not known.
        window: greatest number of messages that are held with their bodies, if the index has all.
    """

    def __init__(
        self,
        *,
        own: Identity,
        reader: PoisonReader,
        poison: PoisonQueue,
        parking: Parking,
        handler: LoadedHandler,
        retry: RetryPolicy,
        admits: Callable[[], bool] = lambda: True,
        instance: str = "",
        lease_seconds: float = 30.0,
        call_seconds: float = 0.0,
        most_keys: int = 16,
        discard: Discard | None = None,
        parks: bool = True,
        dependencies: Circuits | None = None,
        index: PoisonIndex | None = None,
        compare: Compare | None = None,
        runs: RedriveRuns | None = None,
        window: int = WINDOW,
    ) -> None:
        if discard is not None:
            around = discard.wrap(handler.start_and_handle, parking.claims)
            handler = LoadedHandler(handler.name, around)
        self._own = own
        self._reader = reader
        self._index = index
        self._compare = compare
        self._runs = runs
        self._counts: RedriveCounts | None = None
        self._parking = parking
        self._most_keys = most_keys
        self._run = RedriveRun(
            reader=IndexedReader(reader, index, most=window),
            poison=poison,
            store=parking.store,
            claims=parking.claims,
            handler=handler,
            retry=retry,
            admits=admits,
            instance=instance,
            lease_seconds=lease_seconds,
            call_seconds=call_seconds,
            parks=parks,
            discard=discard,
            dependencies=dependencies,
        )

    @property
    def failed(self) -> int:
        """The number of events that have failed again so far."""
        return 0 if self._counts is None else len(self._counts.failed)

    def shown(self, run: RunningRedrive) -> AbstractAsyncContextManager[Run]:
        """Show this redrive to all operators until the block ends.

        Raises:
            RedriveRunningError: another redrive of all events is running, and so is this one.
        """
        return (self._runs or RedriveRuns(MemoryRunStore())).entered(run)

    def stop(self, why: str = "interrupted") -> None:
        """Start no further event; events in flight finish, and their messages are removed.

        The reading of the queue ends at once. Messages that cannot be put back within
        `RETURN_SECONDS` stay hidden until their visibility timeouts expire.
        """
        self._run.stopping.stop(why, hurried=True)

    async def plan(self, selection: Selection) -> Plan:
        """Return the events that `run` would replay, without replaying them.

        Raises:
            OtherAppError: the selected event belongs to another app.
            StorageUnavailableError: the queue or the parked lists cannot be read.
        """
        if (index := await self._whole_index()) is not None:
            messages: list[PoisonMessage] = []
            async for entries in selected_pages(index, selection):
                messages += [each.shortened().message for each in entries]
            return await self._plan(selection, messages, None)
        held = self._holding()
        await held.collect(selection.matches)
        try:
            messages = [each.message for each in held.received]
            return await self._plan(selection, messages, held)
        finally:
            await held.put_back()

    async def run(
        self,
        selection: Selection = Selection(),  # noqa: B008 - frozen
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> RedriveSummary:
        """Replay the selected events.

        Args:
            selection: the events to replay.
            progress: called after each event with the numbers of finished and of all events. The
                number of all events is an estimate if the queue has more than `WINDOW` messages.

        Raises:
            OtherAppError: the selected event belongs to another app; nothing is replayed.
            StorageUnavailableError: the queue or the parked lists cannot be read, before any event
                is replayed. A later error stops the redrive; the summary's `stopped` contains it.
        """
        started = time.perf_counter()
        counts = self._counts = RedriveCounts(progress)
        held = self._holding()
        try:
            async with held.renewed():
                if selection.is_named:
                    await self._run_named(selection, held, counts)
                else:
                    await self._run_all(held, counts)
        finally:
            counts.stale += await held.put_back_or_remove()
        return RedriveSummary(
            replayed=counts.replayed,
            failed=tuple(RedriveFailure(*failure) for failure in counts.failed),
            stale=counts.stale,
            released=counts.released,
            busy=counts.busy,
            left=max(0, counts.total - counts.done),
            stopped=self._run.stopped,
            seconds=time.perf_counter() - started,
            deferred=len(counts.left_alone),
            other_apps=dict(held.of_others),
            lost=counts.lost,
            still_deferred=tuple(RedriveFailure(*each) for each in counts.still_deferred),
            held_elsewhere=counts.held_elsewhere,
        )

    async def _run_all(self, held: HeldMessages, counts: RedriveCounts) -> None:
        """Replay everything, window by window if the index has all messages."""
        state = await self._trusted()
        index = None if state is None else self._index
        replaying = Replaying(self._run, held, counts, self._most_keys, index=index)
        window = self._run.reader.window
        most: int | None = None
        if state is not None:
            most = window.most if state.total <= window.most else window.size
        more = await held.collect(lambda _message: True, most)
        if self._run.stopped:
            counts.total = len(held.received) if state is None else state.entries
            return
        if state is not None:
            # A comparison may still hold messages; the index names them.
            more = more or state.entries > len(held.received)
        elif missing := await held.missing():
            replaying.index, counts.held_elsewhere = self._index, missing
        lists: Iterable[Place] = ()
        if more:
            counts.is_estimate = True
            counts.total = 0 if state is None else state.entries
            await self._count_lists(counts)
        else:
            plan = await self._plan(Selection(), [each.message for each in held.received], held)
            counts.total = plan.events
            counts.left_alone.update(plan.left_alone)
            lists = plan.lists
        await replaying.replay_windows(lists, more=more)
        if state is not None:
            await replaying.replay_unseen()
        if more and not self._run.stopped:
            lists = [
                (each.source, each.key)
                for each in await self._parking.store.keys()
                if each.deferral is None
            ]
            await replaying.replay({place: [] for place in lists})

    async def _count_lists(self, counts: RedriveCounts) -> None:
        for each in await self._parking.store.keys():
            if each.deferral is None:
                counts.total += each.entries
            else:
                counts.left_alone.add((each.source, each.key))

    async def _run_named(
        self, selection: Selection, held: HeldMessages, counts: RedriveCounts
    ) -> None:
        """Replay a key or an event, found by the index or by receiving the whole queue."""
        replaying = Replaying(self._run, held, counts, self._most_keys, named=True)
        places: Counter[Place] | None = None
        if (index := await self._whole_index()) is not None:
            places = await take_named(index, selection, replaying, self._runs)
        if places:
            replaying.index, replaying.more, counts.is_estimate = index, True, True
            await self._replay_selected(selection, replaying, places)
            if not replaying.postponed or self._run.stopped:
                return
            if await someone_redrives_all(self._runs):
                replaying.give_up(replaying.postponed)
                return
            replaying.postponed.clear()
            await held.return_postponed()
            places = None
        replaying.index, replaying.more = None, False
        if places is None:
            await held.collect(selection.matches)
            if self._index is not None and await held.missing():
                await count_held(self._index, selection, held, counts)
                # An event that is named by its id does not wait for earlier ones.
                replaying.index = None if selection.key is None else self._index
        await self._replay_selected(selection, replaying, Counter())

    async def _replay_selected(
        self, selection: Selection, replaying: Replaying, places: Counter[Place]
    ) -> None:
        """Replay the held messages, and all that the index has of some places."""
        received = replaying.held.received
        plan = await self._plan(selection, [each.message for each in received], replaying.held)
        units = await replaying.units(received)
        for place in (*plan.lists, *places):
            units.setdefault(place, [])
        replaying.counts.total = replaying.counts.done + plan.events + places.total()
        await replaying.replay(units, whole=bool(places))

    async def _plan(
        self, selection: Selection, messages: Iterable[PoisonMessage], held: HeldMessages | None
    ) -> Plan:
        return await plan_of(selection, messages, self._parking.store, self._own, held)

    async def _whole_index(self) -> PoisonIndex | None:
        """Return the index if it has every message, so that it also shows which are missing.

        It has no messages of other apps, which must be counted, and refused by their ids.
        """
        state = await self._trusted()
        return None if state is None or state.of_others else self._index

    async def _trusted(self) -> IndexState | None:
        few = self._run.reader.window.most
        return await trusted_state(
            *(self._index, self._reader, self._compare, self._run.stopping), few=few
        )

    def _holding(self) -> HeldMessages:
        return HeldMessages(
            self._run.reader, self._parking.store, self._own, stopping=self._run.stopping
        )
