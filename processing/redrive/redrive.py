"""Redrive: replays poisoned events, and the events parked behind them, through the handler.

Keys are replayed in parallel, each under its own lease, so that two redrives never replay the same
key at the same time. A redrive stops while the circuit is open, but does not report its outcomes to
the circuit: a replay of selected events shows nothing new about the dependency.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Container

from processing.dependencies.circuits import Circuits
from processing.errors import LeaseLostError, StorageUnavailableError
from processing.handlers.loading import LoadedHandler
from processing.handlers.raised import enter_invocation
from processing.handlers.retry import RetryPolicy
from processing.identity import Identity
from processing.monitoring.telemetry import key_hash
from processing.parking.batch import Parking
from processing.parking.event import ListKey, event_key, position_of
from processing.poison.message import PoisonMessage
from processing.poison.other_apps import counted, refusal
from processing.poison.queue import PoisonQueue, PoisonReader, Received, oldest_first
from processing.redrive.context import RedriveRun
from processing.redrive.discard import Discard
from processing.redrive.held_messages import HeldMessages
from processing.redrive.key_replay import KeyReplay
from processing.redrive.selection import Place, Plan, Selection, place_of, selects
from processing.redrive.summary import RedriveCounts, RedriveFailure, RedriveSummary

logger = logging.getLogger(__name__)


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
    ) -> None:
        if discard is not None:
            around = discard.wrap(handler.handle, parking.claims)
            handler = LoadedHandler(handler.name, around)
        self._own = own
        self._reader = reader
        self._parking = parking
        self._most_keys = most_keys
        self._run = RedriveRun(
            reader=reader,
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

    def stop(self, why: str = "interrupted") -> None:
        """Start no further event; events in flight finish, and their messages are removed."""
        self._run.stop(why)

    async def plan(self, selection: Selection) -> Plan:
        """Return the events that `run` would replay, without replaying them.

        Raises:
            OtherAppError: the selected event belongs to another app.
            StorageUnavailableError: the queue or the parked lists cannot be read.
        """
        held = HeldMessages(self._reader, self._parking.store, self._own)
        await held.collect(selection.matches)
        try:
            return await self._plan(selection, held)
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
            progress: called after each event with the numbers of finished and of all events.

        Raises:
            OtherAppError: the selected event belongs to another app; nothing is replayed.
            StorageUnavailableError: the queue or the parked lists cannot be read, before any event
                is replayed. A later error stops the redrive; the summary's `stopped` contains it.
        """
        started = time.perf_counter()
        held = HeldMessages(self._reader, self._parking.store, self._own)
        await held.collect(selection.matches)
        counts = RedriveCounts(progress)
        try:
            async with held.renewed():
                plan = await self._plan(selection, held)
                lists = plan.lists
                units: dict[Place, list[Received]] = defaultdict(list)
                for each in held.received:
                    units[place_of(each.message, lists)].append(each)
                for place in lists:
                    units.setdefault(place, [])
                counts.total = plan.events
                counts.left_alone.update(plan.left_alone)
                await self._replay_all(units, counts, named=selection.is_named)
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
            other_apps=plan.other_apps,
            lost=counts.lost,
            still_deferred=tuple(RedriveFailure(*each) for each in counts.still_deferred),
        )

    async def _replay_all(
        self, units: dict[Place, list[Received]], counts: RedriveCounts, *, named: bool
    ) -> None:
        waiting = iter(units.items())
        enter_invocation()

        async def work() -> None:
            for (source, key), received in waiting:
                if self._run.stopped:
                    return
                try:
                    await KeyReplay(self._run, (source, key), received, counts, named=named).run()
                except LeaseLostError as error:
                    logger.warning(
                        "Key %s: the replay stops: %s: %s; the key's remaining events stay",
                        *(_hash(key), type(error).__name__, error),
                    )
                    counts.busy += 1
                except StorageUnavailableError as error:
                    self._run.stop(str(error))
                except Exception as error:  # of this key alone: its messages stay
                    logger.exception(
                        "Key %s: the replay failed; the key's remaining events stay",
                        _hash(key),
                    )
                    counts.count_unreadable(f"{source}", event_key(key), error)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._most_keys, len(units))):
                group.create_task(work())

    async def _plan(self, selection: Selection, held: HeldMessages) -> Plan:
        messages = oldest_first(each.message for each in held.received)
        # After the messages: a parked event's list is written before its message.
        lists = {(each.source, each.key): each for each in await self._parking.store.keys()}
        of_messages = {place_of(message, lists) for message in messages}
        loose = [await self._is_loose(message, lists) for message in messages]
        plan = Plan(*(tuple(messages), {}), loose=sum(loose), other_apps=counted(held.of_others))
        for place, each in lists.items():
            if each.deferral is not None and not selection.is_named:
                plan.left_alone[place] = each.entries
            elif place in of_messages or await selects(selection, each, self._parking.store):
                counts = plan.parked if each.deferral is None else plan.deferred
                counts[place] = each.entries
        if selection.id is not None and held.of_others and not plan.events:
            raise refusal(held.of_others[0], self._own)
        return plan

    async def _is_loose(self, message: PoisonMessage, lists: Container[Place]) -> bool:
        place = place_of(message, lists)
        if place not in lists or message.parked:
            return place not in lists
        return await self._parking.store.document(*place, position_of(message)) is None


def _hash(key: ListKey) -> str:
    return key_hash(event_key(key)) or "(none)"
