"""One run of a redrive: windows of messages, the keys' replays, and what was never received."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from processing.errors import LeaseLostError, StorageUnavailableError
from processing.handlers.raised import enter_invocation
from processing.monitoring.telemetry import key_hash
from processing.parking.event import ListKey, Lone, event_key, position_of
from processing.poison.index.entry import IndexEntry
from processing.poison.index.index import PoisonIndex
from processing.poison.message import PoisonMessage
from processing.poison.queue import Received, Refusal
from processing.poison.side_by_side import side_by_side
from processing.redrive.context import RedriveRun
from processing.redrive.held_messages import HeldMessages
from processing.redrive.key_messages import KeyIncompleteError, KeyMessages
from processing.redrive.key_replay import KeyReplay
from processing.redrive.selection import Place
from processing.redrive.summary import RedriveCounts

logger = logging.getLogger(__name__)

WINDOW = 512
"""Greatest number of messages that a redrive of all holds with their bodies."""

type Units = dict[Place, list[Received]]


@dataclass(slots=True)
class Replaying:
    """One run of a redrive.

    Attributes:
        run: the state that the keys share.
        held: the held messages.
        counts: the counts.
        most_keys: most keys that are replayed at the same time.
        window: greatest number of messages that are held with their bodies.
        named: whether the operator names a key or an event.
        index: names the messages that are not held; None: there are no others.
        ended: the places of which nothing more is replayed in this run.
        waiting_lists: the places whose list waits for later messages of the key.
        postponed: messages whose key has an earlier message that is not received yet.
    """

    run: RedriveRun
    held: HeldMessages
    counts: RedriveCounts
    most_keys: int
    window: int = WINDOW
    named: bool = False
    index: PoisonIndex | None = None
    ended: set[Place] = field(default_factory=set)
    waiting_lists: set[Place] = field(default_factory=set)
    postponed: Units = field(default_factory=dict)

    async def replay(self, units: Mapping[Place, list[Received]], *, whole: bool = False) -> None:
        """Replay keys, at most `most_keys` at the same time.

        Args:
            units: the held messages of each place.
            whole: whether to replay all messages that the index has of each place.
        """
        enter_invocation()
        waiting = iter(units.items())

        async def work() -> None:
            for place, received in waiting:
                if self.run.stopped:
                    return
                if place not in self.ended and not await self._replay(place, received, whole=whole):
                    self.ended.add(place)
                if place not in self.postponed:
                    self.held.leave(received)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self.most_keys, len(units))):
                group.create_task(work())

    async def _replay(self, place: Place, received: list[Received], *, whole: bool) -> bool:
        """Replay one key; return whether further events of the key may be replayed."""
        source, key = place
        messages = KeyMessages(self.held, received, self.run.reader)
        if not isinstance(key, Lone) and (received or whole):
            messages.index, messages.source, messages.key = self.index, source, key
            messages.is_whole = whole
        try:
            return await KeyReplay(self.run, place, messages, self.counts, named=self.named).run()
        except KeyIncompleteError as error:
            return self._postpone(place, received, error)
        except LeaseLostError as error:
            logger.warning(
                "Key %s: the replay stops: %s: %s; the key's remaining events stay",
                *(_hash(key), type(error).__name__, error),
            )
            self.counts.busy += 1
        except StorageUnavailableError as error:
            self.run.stop(str(error))
        except Exception as error:  # of this key alone: its messages stay
            logger.exception(
                "Key %s: the replay failed; the key's remaining events stay", _hash(key)
            )
            self.counts.count_unreadable(f"{source}", event_key(key), error)
        return False

    def _postpone(self, place: Place, received: list[Received], error: KeyIncompleteError) -> bool:
        """Leave a key of which somebody else holds a message; wait for one to be received."""
        if not error.held:
            self.postponed[place] = received
            return True
        logger.warning(
            "Key %s: somebody else holds %d earlier messages of the key; its events stay",
            *(_hash(place[1]), error.held),
        )
        self.counts.busy += 1
        return False

    def give_up_postponed(self) -> None:
        """Leave the keys alone whose earlier messages were not received."""
        postponed, self.postponed = self.postponed, {}
        for place, received in postponed.items():
            logger.warning(
                "Key %s: an earlier message of the key was not received; its events stay",
                _hash(place[1]),
            )
            self.counts.busy += 1
            self.ended.add(place)
            self.held.leave(received)

    async def units(self, received: Iterable[Received]) -> Units:
        """Return messages by the place of the list that contains their event, if one does."""
        found: Units = defaultdict(list)

        async def one(each: Received) -> None:
            found[await self._place(each.message)].append(each)

        await side_by_side(received, one)
        return dict(found)

    async def _place(self, message: PoisonMessage) -> Place:
        if message.key is not None:
            return message.source, message.key
        position = position_of(message)
        entry = await self.run.store.document(message.source, Lone(position), position)
        return message.source, None if entry is None else Lone(position)

    async def take(self, entries: Iterable[IndexEntry]) -> tuple[list[Received], int, int]:
        """Hold messages that the index names.

        Returns:
            The held messages, the number that somebody else holds, and the number that is gone.
        """
        taken: list[Received] = []
        refused: list[Refusal] = []

        async def one(entry: IndexEntry) -> None:
            found = await self.run.reader.take(entry)
            if isinstance(found, Refusal):
                refused.append(found)
                return
            self.held.hold(found)
            taken.append(found)

        await side_by_side(entries, one, goes_on=lambda: not self.run.stopped)
        held = refused.count(Refusal.HELD)
        return taken, held, len(refused) - held

    async def replay_windows(self, lists: Iterable[Place], *, more: bool) -> None:
        """Replay the held messages, and receive and replay further ones until the queue is empty.

        Args:
            lists: the lists to replay with the first messages.
            more: whether the queue may have messages that are not received yet.
        """
        while not self.run.stopped:
            self.postponed.clear()
            units = await self.units(self.held.received)
            for place in lists:
                units.setdefault(place, [])
            lists = ()
            await self.replay(units)
            if not more or len(self.held.received) > self.window // 2:
                self.give_up_postponed()
            if not more or self.run.stopped:
                return
            more = await self.held.collect(lambda _message: True, self.window)

    async def replay_unseen(self) -> None:
        """Replay the messages of the index that were not received; count those of others.

        Such a message was put into the queue after the reading, or somebody else holds it.
        """
        await self.run.reader.flush()
        after: str | None = None
        while self.index is not None and not self.run.stopped:
            page = await self.index.page(after)
            unseen = [each for each in page.entries if not self.held.knows(each.name)]
            taken, held, gone = await self.take(each for each in unseen if each.is_whole)
            partial = sum(not each.is_whole for each in unseen)
            self.counts.held_elsewhere += held + partial
            self.counts.merge(held + partial + gone)
            await self.replay(await self.units(taken))
            self.give_up_postponed()
            if page.after is None:
                return
            after = page.after


def _hash(key: ListKey) -> str:
    return key_hash(event_key(key)) or "(none)"
