"""Redrive: replays poisoned events, and the events parked behind them, through the handler.

Keys are replayed in parallel, each under its own lease, so that two redrives never replay the same
key at the same time. A redrive stops while the circuit is open, but does not report its outcomes to
the circuit: a replay of selected events shows nothing new about the dependency.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

from processing.errors import LeaseLostError, StorageUnavailableError
from processing.handlers.loading import LoadedHandler
from processing.handlers.raised import enter_invocation
from processing.handlers.retry import RetryPolicy
from processing.monitoring.telemetry import key_hash
from processing.parking.batch import Parking
from processing.poison.message import PoisonMessage
from processing.poison.queue import PoisonQueue, PoisonReader, Received, oldest_first
from processing.redrive.context import RedriveRun
from processing.redrive.discard import Discard
from processing.redrive.held_messages import HeldMessages
from processing.redrive.key_replay import KeyReplay
from processing.redrive.selection import Place, Plan, Selection
from processing.redrive.summary import RedriveCounts, RedriveFailure, RedriveSummary

logger = logging.getLogger(__name__)


class Redrive:
    """A replay of poison messages and parked keys.

    Args:
        reader: reads the poison queue.
        poison: stores the messages of parked events that fail in the redrive.
        parking: the parked lists.
        handler: handles each event.
        retry: retries each event.
        admits: returns whether the circuit admits events.
        instance: this instance's name in poison messages.
        lease_seconds: time after which a key's lease expires if the redrive dies.
        most_keys: most keys that are replayed at the same time.
        discard: an event that is recorded as discarded instead of being handled.
    """

    def __init__(
        self,
        *,
        reader: PoisonReader,
        poison: PoisonQueue,
        parking: Parking,
        handler: LoadedHandler,
        retry: RetryPolicy,
        admits: Callable[[], bool] = lambda: True,
        instance: str = "",
        lease_seconds: float = 30.0,
        most_keys: int = 16,
        discard: Discard | None = None,
    ) -> None:
        if discard is not None:
            around = discard.wrap(handler.handle, parking.claims)
            handler = LoadedHandler(handler.name, around)
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
            token=secrets.token_hex(8),
            discard=discard,
        )

    def stop(self, why: str = "interrupted") -> None:
        """Start no further event; events in flight finish, and their messages are removed."""
        self._run.stop(why)

    async def plan(self, selection: Selection) -> Plan:
        """Return the events that `run` would replay, without replaying them.

        Raises:
            StorageUnavailableError: the queue or the parked lists cannot be read.
        """
        held = HeldMessages(self._reader, self._parking.store)
        await held.collect(selection.matches)
        try:
            messages = [each.message for each in held.received]
            parked = await self._parked(selection, messages)
        finally:
            await held.put_back()
        return Plan(tuple(oldest_first(messages)), parked)

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
            StorageUnavailableError: the queue or the parked lists cannot be read, before any event
                is replayed. A later error stops the redrive; the summary's `stopped` contains it.
        """
        started = time.perf_counter()
        held = HeldMessages(self._reader, self._parking.store)
        await held.collect(selection.matches)
        counts = RedriveCounts(progress)
        try:
            async with held.renewed():
                messages = [each.message for each in held.received]
                parked = await self._parked(selection, messages)
                units: dict[Place, list[Received]] = defaultdict(list)
                for each in held.received:
                    units[each.message.source, each.message.key].append(each)
                for place in parked:
                    units.setdefault(place, [])
                plan = Plan(tuple(oldest_first(messages)), parked)
                counts.total = plan.events
                await self._replay_all(units, counts)
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
        )

    async def _replay_all(self, units: dict[Place, list[Received]], counts: RedriveCounts) -> None:
        waiting = iter(units.items())
        enter_invocation()

        async def work() -> None:
            for (source, key), received in waiting:
                if self._run.stopped:
                    return
                try:
                    await KeyReplay(self._run, source, key, received, counts).run()
                except LeaseLostError as error:
                    logger.warning(
                        "Key %s: the replay stops: %s: %s; the key's remaining events stay",
                        *(key_hash(key) or "(none)", type(error).__name__, error),
                    )
                    counts.busy += 1
                except (StorageUnavailableError, ValueError) as error:
                    self._run.stop(str(error))
                except Exception as error:  # of this key alone: its messages stay
                    logger.exception(
                        "Key %s: the replay failed; the key's remaining events stay",
                        key_hash(key) or "(none)",
                    )
                    counts.count_unreadable(f"{source}", key, error)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._most_keys, len(units))):
                group.create_task(work())

    async def _parked(
        self, selection: Selection, messages: Sequence[PoisonMessage]
    ) -> dict[Place, int]:
        selected = {(message.source, message.key) for message in messages}
        return {
            (each.source, each.key): each.entries
            for each in await self._parking.store.keys()
            if (each.source, each.key) in selected
            or (selection.id is None and selection.key in (None, each.key))
        }
