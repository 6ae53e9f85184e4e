"""The replay of one key: first its loose poison messages, then its parked list in order."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from processing.errors import BodyLostError, StorageUnavailableError
from processing.event import Event
from processing.handlers.raised import describe, type_name
from processing.handlers.retry import Failure, FailureKind
from processing.identity import Source
from processing.parking.event import ParkedEvent, Position, position_of, with_body
from processing.parking.store import Entry, EntryKind
from processing.poison.message import ClaimCheck, PoisonMessage
from processing.poison.queue import Received
from processing.redrive.context import RedriveRun
from processing.redrive.key_lease import KeyLease
from processing.redrive.summary import RedriveCounts

_THROTTLED_SECONDS = 60.0
"""Longest time that one event waits because a dependency limits the rate of calls."""
_THROTTLED_PAUSE = 1.0
"""Pause if the dependency does not name one."""
_REASONS = {
    FailureKind.THROTTLED: "a dependency limits the rate of calls",
    FailureKind.REFUSED: "an open circuit refused a call",
    FailureKind.FAULTY: "the handler is faulty",
}
"""Why a redrive stops at a failure that is not the event's fault."""


class KeyReplay:
    """The replay of one key.

    Args:
        run: the state that the keys of the redrive share.
        source, key: the partition and the key.
        received: the key's held poison messages.
        counts: the counts of the redrive.
    """

    def __init__(
        self,
        run: RedriveRun,
        source: Source,
        key: str | None,
        received: Sequence[Received],
        counts: RedriveCounts,
    ) -> None:
        self._run = run
        self._store = run.store
        self._place = (source, key)
        self._counts = counts
        self._lease = KeyLease(run.store, source, key, run.lease_seconds)
        self._received: dict[Position, list[Received]] = defaultdict(list)
        for each in received:
            self._received[position_of(each.message)].append(each)

    async def run(self) -> None:
        """Replay the key, or count the key as busy if another redrive holds its lease.

        Raises:
            LeaseLostError: the lease expired, and another redrive may replay the key.
            StorageUnavailableError: a store did not answer; unreplayed events stay.
        """
        if not await self._lease.acquire():
            self._counts.busy += 1
            return
        async with self._lease.held():
            await self._replay_loose()
            await self._replay_parked()

    async def _replay_loose(self) -> None:
        """Replay messages that are in no parked list; their key continued without them."""
        for position in sorted(self._received):
            copies = self._received[position]
            if await self._is_parked(position):
                continue
            message = copies[0].message
            if message.parked and await self._store.is_stale(self._place[0], message.verdict):
                await self._remove(copies)
                self._counts.count(stale=len(copies))
            elif (held := await self._renewed(copies)) and not await self._replay_message(held):
                return

    async def _replay_message(self, copies: Sequence[Received]) -> bool:
        """Replay one loose message, and return whether to replay the next one."""
        message, *_ = (each.message for each in copies)
        try:
            event = await self._run.event_of(message)
        except (BodyLostError, StorageUnavailableError, ValueError) as error:
            self._counts.count_unreadable(message.id, message.key, error)
            return True
        if not self._may_start():
            return False
        failure = await self._handle(event)
        if failure is None:
            await self._remove(copies)
            await self._run.remove_blob(message.claim_check)
            self._counts.count(replayed=1)
            return True
        if failure.kind.keeps:
            self._stop_for(failure)
            return False
        failed = await self._run.claims.shrink(message.failed_again(failure))
        await self._run.reader.update(copies[0], failed)
        await self._remove(copies[1:])
        self._counts.count_failed(failed)
        return True

    async def _handle(self, event: Event) -> Failure | None:
        """Handle one event; wait, for a limited time, if a dependency limits the rate of calls."""
        left = _THROTTLED_SECONDS
        while True:
            failure = await self._run.retry.run(self._run.handler.handle, event)
            if failure is None or failure.kind is not FailureKind.THROTTLED:
                return failure
            pause = failure.retry_after or _THROTTLED_PAUSE
            if pause > left:
                return failure
            left -= pause
            await self._run.pause(pause)
            if not self._may_start():
                return failure

    async def _replay_parked(self) -> None:
        """Replay the parked list in order, until the list is empty and the key is released."""
        while entries := await self._store.entries(*self._place):
            for entry in entries:
                if not await self._replay_entry(entry):
                    return

    async def _replay_entry(self, entry: Entry) -> bool:
        """Replay one entry, and return whether to replay the next one."""
        try:
            event, message, check = await self._resolve(entry)
        except BodyLostError as error:
            await self._poison_lost_body(entry, error)
            return False
        except (StorageUnavailableError, ValueError) as error:
            self._counts.count_unreadable(
                f"{self._place[0]} {entry.position}", self._place[1], error
            )
            return False
        if not self._may_start():
            return False
        failure = await self._handle(event)
        if failure is not None:
            if failure.kind.keeps:
                self._stop_for(failure)
            else:
                await self._fail(entry, event, message, check, failure)
            return False
        verdict = "" if message is None else message.verdict
        # The list first: after this call the store reports copies of the message as stale.
        left = await self._store.finish(
            *self._place, self._lease.token, entry.position, verdict, epoch=self._lease.epoch
        )
        await self._remove(self._received.pop(entry.position, []))
        await self._run.remove_blob(check)
        self._counts.released += left == 0
        self._counts.count(replayed=1)
        return left > 0

    async def _fail(
        self,
        entry: Entry,
        event: Event,
        message: PoisonMessage | None,
        check: ClaimCheck | None,
        failure: Failure,
    ) -> None:
        """Keep a failed entry in the list, as a poisoned entry."""
        if message is not None:
            failed = await self._run.claims.shrink(message.failed_again(failure))
            new = entry.kind is EntryKind.UNANNOUNCED
        else:
            failed = await self._run.claims.shrink(self._poisoned(event, failure))
            new = True
        await self._replace(entry.position, failed, new=new)
        for copy in self._received.get(entry.position, []):
            await self._run.reader.update(copy, failed)
        if message is None:
            await self._run.remove_blob(check)
        self._counts.count_failed(failed)

    async def _poison_lost_body(self, entry: Entry, error: BodyLostError) -> None:
        """Keep an entry whose body is lost, as a poisoned entry.

        Its message must be in the poison queue, because an operator can only discard events there.
        """
        if entry.kind is EntryKind.EVENT:
            parked = ParkedEvent.from_json(entry.document)
            now = time.time()
            failure = Failure(FailureKind.POISON, error, 0, now, now)
            message = self._poisoned(parked.event, failure)
            if parked.claim_check is not None:
                message = message.with_claim_check(parked.claim_check)
        else:
            message = PoisonMessage.from_json(entry.document)
        if entry.kind is not EntryKind.POISON:
            await self._replace(entry.position, message, new=True)
        self._counts.count_unreadable(message.id, message.key, error)

    def _poisoned(self, event: Event, failure: Failure) -> PoisonMessage:
        message = PoisonMessage.from_failure(
            event,
            failure,
            handler=self._run.handler.name,
            circuit_generation=0,
            instance=self._run.instance,
        )
        return replace(message, redrives=1, parked=True)

    async def _replace(self, position: Position, message: PoisonMessage, *, new: bool) -> None:
        """Replace an entry by this poison message, and put a new message into the queue."""
        kind = EntryKind.UNANNOUNCED if new else EntryKind.POISON
        document = kind + message.to_json()
        await self._store.replace(*self._place, self._lease.token, position, document)
        if new:
            await self._run.poison.put(message)
            await self._store.announced(*self._place, position)

    async def _resolve(self, entry: Entry) -> tuple[Event, PoisonMessage | None, ClaimCheck | None]:
        """Return the entry's event, its poison message or None, and its claim check or None."""
        if entry.kind is EntryKind.EVENT:
            parked = ParkedEvent.from_json(entry.document)
            event = (await with_body(parked, self._run.claims)).event
            return event, None, parked.claim_check
        message = PoisonMessage.from_json(entry.document)
        return await self._run.event_of(message), message, message.claim_check

    async def _renewed(self, copies: Sequence[Received]) -> list[Received]:
        """Renew the copies, and return those that this redrive still holds.

        A visibility timeout may have expired before the key's lease was acquired. Then another
        redrive may have replayed the message.
        """
        for copy in copies:
            await self._run.reader.renew(copy)
        return [copy for copy in copies if not copy.gone]

    async def _is_parked(self, position: Position) -> bool:
        entry = await self._store.document(*self._place, position)
        return entry is not None

    def _may_start(self) -> bool:
        self._lease.check()
        return self._run.may_start()

    def _stop_for(self, failure: Failure) -> None:
        what = _REASONS.get(failure.kind, "a dependency is unavailable")
        self._run.stop(f"{what}: {type_name(failure.error)}: {describe(failure.error)}")

    async def _remove(self, copies: Sequence[Received]) -> None:
        for copy in copies:
            await self._run.reader.remove(copy)
