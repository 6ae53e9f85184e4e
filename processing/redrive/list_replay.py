"""The replay of one list: parked or deferred events, in order, until the key is released."""

from __future__ import annotations

import time
from dataclasses import replace

from processing.errors import BodyLostError, StorageUnavailableError
from processing.event import Event
from processing.handlers.retry import Failure, FailureKind
from processing.parking.event import Lone, ParkedEvent, Position, event_key, with_body
from processing.parking.store import Entry, EntryKind
from processing.poison.message import ClaimCheck, PoisonMessage
from processing.poison.queue import Received
from processing.redrive.attempts import KeyAttempts
from processing.redrive.context import RedriveRun
from processing.redrive.key_lease import KeyLease
from processing.redrive.selection import Place, id_at
from processing.redrive.summary import RedriveCounts


class ListReplay:
    """The replay of one list.

    Args:
        run: the state that the keys of the redrive share.
        place: the partition and the name of the list.
        lease: the key's lease.
        received: the key's held poison messages, by the position of their event.
        counts: the counts of the redrive.
    """

    def __init__(
        self,
        run: RedriveRun,
        place: Place,
        lease: KeyLease,
        received: dict[Position, list[Received]],
        counts: RedriveCounts,
    ) -> None:
        self._run = run
        self._store = run.store
        self._place = place
        self._lease = lease
        self._received = received
        self._counts = counts
        self._attempts = KeyAttempts(run, lease, counts)
        self._is_released = False

    async def run(self) -> bool:
        """Replay the list, until it is empty and the key is released, or an event fails.

        Returns:
            Whether the list is empty.

        Raises:
            LeaseLostError: the lease expired, and another holder may replay the key.
            StorageUnavailableError: a store did not answer; unreplayed events stay.
        """
        while entries := await self._store.entries(*self._place):
            for entry in entries:
                if self._run.stopped or not await self._replay(entry):
                    return self._is_released
        return True

    async def _replay(self, entry: Entry) -> bool:
        """Replay one entry, and return whether to replay the next one."""
        try:
            event, message, check = await self._resolve(entry)
        except BodyLostError as error:
            return await self._poison_lost_body(entry, error)
        except (StorageUnavailableError, ValueError) as error:
            name = id_at(self._place[0], entry.position)
            self._counts.count_unreadable(name, event_key(self._place[1]), error)
            return False
        if not self._attempts.may_start():
            return False
        failure = await self._attempts.handle(event)
        if failure is not None and failure.kind.keeps:
            self._attempts.end_for(event, failure)
            return False
        if failure is not None:
            return await self._fail(entry, event, message, check, failure)
        more = await self._finish(entry, message, check)
        self._counts.count(replayed=1)
        return more

    async def _finish(
        self, entry: Entry, message: PoisonMessage | None, check: ClaimCheck | None
    ) -> bool:
        """Remove an entry, and then its messages and its blob; return whether entries are left."""
        verdict = "" if message is None else message.verdict
        # The list first: after this call the store reports copies of the message as stale.
        left = await self._store.finish(
            *(*self._place, self._lease.token, entry.position, verdict), epoch=self._lease.epoch
        )
        await self._attempts.remove(self._received.pop(entry.position, []))
        await self._run.remove_blob(check)
        self._is_released = left == 0
        self._counts.released += self._is_released
        return left > 0

    async def _fail(
        self,
        entry: Entry,
        event: Event,
        message: PoisonMessage | None,
        check: ClaimCheck | None,
        failure: Failure,
    ) -> bool:
        """Keep a failed entry in the list, as a poisoned entry, or let a deferred key continue.

        Returns:
            Whether to replay the next entry.
        """
        if message is not None:
            failed = await self._run.claims.shrink(message.failed_again(failure))
            new = entry.kind is EntryKind.UNANNOUNCED
        else:
            failed = await self._run.claims.shrink(self._poisoned(event, failure))
            new = True
        more = False
        if self._continues:
            more = await self._move(entry, failed, message, check)
        else:
            await self._replace(entry.position, failed, new=new)
            for copy in self._received.get(entry.position, []):
                await self._run.reader.update(copy, failed)
            if message is None:
                await self._run.remove_blob(check)
        self._counts.count_failed(failed)
        return more

    async def _poison_lost_body(self, entry: Entry, error: BodyLostError) -> bool:
        """Keep an entry whose body is lost, as a poisoned entry, or let a deferred key continue.

        Its message must be in the poison queue, because an operator can only discard events there.

        Returns:
            Whether to replay the next entry.
        """
        more = False
        if entry.kind is EntryKind.EVENT:
            parked = ParkedEvent.from_json(entry.document)
            now = time.time()
            failure = Failure(FailureKind.POISON, error, 0, now, now)
            message = self._poisoned(parked.event, failure)
            if parked.claim_check is not None:
                message = message.with_claim_check(parked.claim_check)
        else:
            message = PoisonMessage.from_json(entry.document)
        if self._continues:
            more = await self._move(entry, message, None, message.claim_check)
        elif entry.kind is not EntryKind.POISON:
            await self._replace(entry.position, message, new=True)
        self._counts.count_unreadable(message.id, message.key, error)
        return more

    @property
    def _continues(self) -> bool:
        """Return whether the key continues after a poisoned event."""
        # Nothing waits behind an event that is deferred alone.
        parks = self._run.parks and not isinstance(self._place[1], Lone)
        return self._attempts.is_deferred and not parks

    async def _move(
        self,
        entry: Entry,
        failed: PoisonMessage,
        message: PoisonMessage | None,
        check: ClaimCheck | None,
    ) -> bool:
        """Move a failed event from the list to the poison queue; return whether entries are left.

        The queue is written first. If this process dies in between, the event is replayed again.
        """
        self._lease.check()
        await self._run.poison.put(replace(failed, parked=False))
        return await self._finish(entry, message, None if check == failed.claim_check else check)

    async def _replace(self, position: Position, message: PoisonMessage, *, new: bool) -> None:
        """Replace an entry by this poison message, and put a new message into the queue."""
        kind = EntryKind.UNANNOUNCED if new else EntryKind.POISON
        document = kind + message.to_json()
        await self._store.replace(*self._place, self._lease.token, position, document)
        if new:
            await self._run.poison.put(message)
            await self._store.announced(*self._place, position)

    def _poisoned(self, event: Event, failure: Failure) -> PoisonMessage:
        message = PoisonMessage.from_failure(
            event,
            failure,
            handler=self._run.handler.name,
            circuit_generation=0,
            instance=self._run.instance,
        )
        return replace(message, redrives=1, parked=True)

    async def _resolve(self, entry: Entry) -> tuple[Event, PoisonMessage | None, ClaimCheck | None]:
        """Return the entry's event, its poison message or None, and its claim check or None."""
        if entry.kind is EntryKind.EVENT:
            parked = ParkedEvent.from_json(entry.document)
            event = (await with_body(parked, self._run.claims)).event
            return event, None, parked.claim_check
        message = PoisonMessage.from_json(entry.document)
        return await self._run.event_of(message), message, message.claim_check
