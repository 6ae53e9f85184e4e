"""One run of a redrive: windows of messages, the keys' replays, and what was never received."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from processing.errors import LeaseLostError, StorageUnavailableError
from processing.formats.event_fields import key_hash
from processing.handlers.raised import enter_invocation
from processing.parking.event import ListKey, Lone, event_key, position_of
from processing.poison.index.entry import IndexEntry
from processing.poison.index.index import PoisonIndex
from processing.poison.message import PoisonMessage
from processing.poison.queue import Received
from processing.poison.side_by_side import side_by_side
from processing.redrive.context import RedriveRun
from processing.redrive.held_messages import HeldMessages
from processing.redrive.key_messages import KeyIncompleteError, KeyMessages
from processing.redrive.key_replay import KeyReplay
from processing.redrive.selection import Place
from processing.redrive.summary import RedriveCounts

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.05
"""Pause between two looks at the speed of the storage."""

type Units = dict[Place, list[Received]]


@dataclass(slots=True)
class Replaying:
    """One run of a redrive.

    Attributes:
        run: the state that the keys share.
        held: the held messages.
        counts: the counts.
        most_keys: most keys that are replayed at the same time.
        named: whether the operator names a key or an event.
        index: names the messages that are not held; None: there are no others.
        more: whether the queue may have messages that are not received yet.
        ended: the places of which nothing more is replayed in this run.
        postponed: the places with an earlier message that was not available while the queue was
            read; they are tried again after that.
        waiting: the places that wait for an earlier message while the queue is read for the second
            time; their messages stay held.
    """

    run: RedriveRun
    held: HeldMessages
    counts: RedriveCounts
    most_keys: int
    named: bool = False
    index: PoisonIndex | None = None
    more: bool = False
    ended: set[Place] = field(default_factory=set)
    postponed: set[Place] = field(default_factory=set)
    waiting: set[Place] = field(default_factory=set)
    _again: bool = False

    async def replay(self, units: Mapping[Place, list[Received]], *, whole: bool = False) -> None:
        """Replay keys, at most `most_keys` at the same time, and fewer if the storage is slow.

        Args:
            units: the held messages of each place.
            whole: whether to replay all messages that the index has of each place.
        """
        enter_invocation()
        waiting = deque(units.items())

        async def work(number: int) -> None:
            while waiting and not self.run.stopped:
                if number >= self.run.reader.window.at_once:
                    await self.run.pause(LOOK_SECONDS)
                    continue
                place, received = waiting.popleft()
                ends = place in self.ended or place in self.postponed
                if not ends and not await self._replay(place, received, whole=whole):
                    self.ended.add(place)
                if place in self.postponed:
                    self.held.postpone(received)
                elif place not in self.waiting:
                    self.held.leave(received)

        async with asyncio.TaskGroup() as group:
            for number in range(min(self.most_keys, len(units))):
                group.create_task(work(number))

    async def _replay(self, place: Place, received: list[Received], *, whole: bool) -> bool:
        """Replay one key; return whether further events of the key may be replayed."""
        source, key = place
        messages = KeyMessages(self.held, received, self.run.reader, self.run.stopping)
        if not isinstance(key, Lone) and (received or whole):
            messages.index, messages.source, messages.key = self.index, source, key
            messages.is_whole = whole
        try:
            return await KeyReplay(self.run, place, messages, self.counts, named=self.named).run()
        except KeyIncompleteError as error:
            return self._postpone(place, [*received, *messages.taken], error)
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

    def _postpone(self, place: Place, held: list[Received], error: KeyIncompleteError) -> bool:
        """Let a key wait for its earlier messages, until the queue was read to its end.

        Returns:
            Whether the key waits.
        """
        if self.more and not self._again:
            self.postponed.add(place)
            self.held.postpone(held)
        elif self.more:
            self.waiting.add(place)
        else:
            self._leave_busy(place, error)
        return self.more

    def _leave_busy(self, place: Place, why: object) -> None:
        """Leave a key alone of which somebody else holds messages."""
        logger.warning("The redrive skips key %s: %s; its events stay", _hash(place[1]), why)
        self.counts.busy += 1
        self.ended.add(place)

    def give_up(self, places: Iterable[Place]) -> None:
        """Leave keys alone that are postponed, because another redrive holds their messages."""
        for place in places:
            self._leave_busy(place, "another redrive holds messages of the key")

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

    async def take(self, entries: Iterable[IndexEntry]) -> tuple[list[Received], int]:
        """Hold messages that the index names.

        Returns:
            The held messages, and the number of those that could not be taken.
        """
        taken: list[Received] = []
        refused = 0

        def note(found: Received | None) -> None:
            nonlocal refused
            if found is None:
                refused += 1
                return
            self.held.hold(found)
            taken.append(found)

        await self.run.reader.take_all(list(entries), note, lambda: not self.run.stopped)
        return taken, refused

    async def replay_windows(self, lists: Iterable[Place], *, more: bool) -> None:
        """Replay the held messages, and receive and replay further ones until the queue is empty.

        Then do the same with the keys of which a message was not available. By now their messages
        were received, so that their receipts are known, or somebody else holds them.

        Args:
            lists: the lists to replay with the first messages.
            more: whether the queue may have messages that are not received yet.
        """
        await self._replay_windows(lists, more=more)
        if not self.postponed or self.run.stopped:
            return
        postponed, self.postponed, self._again = self.postponed, set(), True
        await self.held.return_postponed()
        more = await self.held.collect(lambda _message: True, self.run.reader.window.size)
        await self._replay_windows((), more=more)
        self.more = False
        await self.replay({place: [] for place in postponed}, whole=True)

    async def _replay_windows(self, lists: Iterable[Place], *, more: bool) -> None:
        while not self.run.stopped:
            self.more = more
            self.waiting.clear()
            units = await self.units(self.held.received)
            for place in lists:
                units.setdefault(place, [])
            lists = ()
            await self.replay(units)
            if not more or self.run.stopped:
                return
            # An awaited message may be anywhere in the queue.
            most = None if self.waiting else self.run.reader.window.size
            more = await self.held.collect(lambda _message: True, most)

    async def replay_unseen(self) -> None:
        """Replay indexed messages that were not received; count those that others hold.

        Such a message was put into the queue after the reading, or somebody else holds it.
        """
        await self.run.reader.flush()
        after: str | None = None
        refused = 0
        while self.index is not None and not self.run.stopped:
            page = await self.index.page(after)
            unseen = [each for each in page.entries if not self.held.knows(each.name)]
            taken, held = await self.take(each for each in unseen if each.is_whole)
            held += sum(not each.is_whole for each in unseen)
            refused += held
            self.counts.merge(held)
            await self.replay(await self.units(taken))
            if page.after is None:
                break
            after = page.after
        if refused:  # some of the messages may not be in the queue any more
            self.counts.held_elsewhere += min(refused, await self.held.missing())


def _hash(key: ListKey) -> str:
    return key_hash(event_key(key)) or "(none)"
