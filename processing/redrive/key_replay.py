"""The replay of one key: first its loose poison messages, then its list in order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from processing.errors import BodyLostError, StorageUnavailableError
from processing.event import Event
from processing.parking.event import Position, position_of
from processing.poison.queue import Received
from processing.redrive.attempts import KeyAttempts
from processing.redrive.context import RedriveRun
from processing.redrive.key_lease import KeyLease
from processing.redrive.key_messages import KeyMessages
from processing.redrive.list_replay import ListReplay
from processing.redrive.selection import Place
from processing.redrive.summary import RedriveCounts

SURELY_HELD_SHARE = 0.25
"""A hold of which this share is left needs no renewal before the event."""


class KeyReplay:
    """The replay of one key.

    Args:
        run: the state that the keys of the redrive share.
        place: the partition and the name of the key's list.
        messages: the key's poison messages.
        counts: the counts of the redrive.
        named: whether the operator names the key; only then a deferred list is replayed.
    """

    def __init__(
        self,
        run: RedriveRun,
        place: Place,
        messages: KeyMessages,
        counts: RedriveCounts,
        *,
        named: bool,
    ) -> None:
        self._run = run
        self._store = run.store
        self._place = place
        self._messages = messages
        self._counts = counts
        self._named = named
        self._lease = KeyLease(run.store, *place, run.lease_seconds)
        self._attempts = KeyAttempts(run, self._lease, counts)
        self._in_list: dict[Position, list[Received]] = defaultdict(list)

    async def run(self) -> bool:
        """Replay the key, or count the key as busy if another holder has its lease.

        The other holder is a redrive, or an instance of the app that replays a deferred key.

        Returns:
            Whether further events of the key may be replayed in this redrive.

        Raises:
            KeyIncompleteError: an earlier message of the key is not available.
            LeaseLostError: the lease expired, and another holder may replay the key.
            StorageUnavailableError: a store did not answer; unreplayed events stay.
        """
        if not await self._lease.acquire():
            self._counts.busy += 1
            return False
        async with self._lease.held():
            async for page in self._messages.pages():
                if not await self._replay_loose(page):
                    return False
            if self._run.stopped:
                return False
            if self._attempts.is_deferred and not self._named:
                self._counts.left_alone.add(self._place)  # deferred since the plan
                return False
            if self._messages.follow:
                return True  # the list waits for them
            replay = ListReplay(self._run, self._place, self._lease, self._in_list, self._counts)
            listed = [each for copies in self._in_list.values() for each in copies]
            with self._messages.held.in_flight(listed):
                return await replay.run()

    async def _replay_loose(self, page: Sequence[Received]) -> bool:
        """Replay messages that are in no list, because their key continued without them.

        Returns:
            Whether to continue with the key.
        """
        received: dict[Position, list[Received]] = defaultdict(list)
        for each in page:
            received[position_of(each.message)].append(each)
        for position in sorted(received):
            if self._run.stopped:
                return False
            copies = received[position]
            self._counts.merge(len(copies) - 1)
            if await self._is_in_list(position):
                self._in_list[position] = copies
                self._counts.merge(1)
                continue
            message = copies[0].message
            if message.parked and await self._store.is_stale(self._place[0], message.verdict):
                await self._attempts.remove(copies)
                self._counts.count(stale=len(copies))
            elif held := await self._renewed(copies):
                with self._messages.held.in_flight(held):
                    goes_on = await self._replay_message(held)
                if not goes_on:
                    return False
            self._messages.held.leave(copies)
        return True

    async def _replay_message(self, copies: Sequence[Received]) -> bool:
        """Replay one loose message, and return whether to replay the next one."""
        try:
            readable, event = await self._event_of(copies)
        except (BodyLostError, StorageUnavailableError, ValueError) as error:
            message = copies[0].message
            self._counts.count_unreadable(message.id, message.key, error)
            return True
        if not self._attempts.may_start():
            return False
        failure = await self._attempts.handle(event)
        if failure is None:
            checks = {copy.message.claim_check for copy in copies}
            if await self._attempts.remove(copies):  # else another reader needs the blob
                for check in checks:
                    await self._run.remove_blob(check)
            self._counts.count(replayed=1)
            return True
        if failure.kind.keeps:
            self._attempts.end_for(event, failure)
            return False
        failed = await self._run.claims.shrink(readable.message.failed_again(failure))
        await self._run.reader.update(readable, failed)
        await self._attempts.remove([copy for copy in copies if copy is not readable])
        self._counts.count_failed(failed)
        return True

    async def _event_of(self, copies: Sequence[Received]) -> tuple[Received, Event]:
        """Return the first copy whose body is not lost, and its event.

        Raises:
            BodyLostError: the body of each copy is lost.
        """
        for copy in copies:
            try:
                return copy, await self._run.event_of(copy.message)
            except BodyLostError as error:
                lost = error
        raise lost

    async def _renewed(self, copies: Sequence[Received]) -> list[Received]:
        """Return the copies that this redrive still holds; renew those whose hold is short.

        A visibility timeout may have expired before the key's lease was acquired. Then another
        redrive may have replayed the message.
        """
        needed = self._run.reader.hold_seconds * SURELY_HELD_SHARE
        for copy in copies:
            if not copy.is_held_for(needed):
                await self._run.reader.renew(copy)
        return [copy for copy in copies if not copy.gone]

    async def _is_in_list(self, position: Position) -> bool:
        entry = await self._store.document(*self._place, position)
        return entry is not None
