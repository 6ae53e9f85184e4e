"""Replaying one key: its loose poison messages, then, in order, everything in its parked list."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from processing.errors import StorageUnavailableError
from processing.event import Event, Source
from processing.handler import LoadedHandler
from processing.key_lease import KeyLease
from processing.parked_event import ParkedEvent, Position, position_of
from processing.parking import Entry, EntryKind, ParkingStore
from processing.poison import ClaimCheck, ClaimChecks, PoisonMessage, PoisonQueue
from processing.poison_reader import PoisonReader, Received
from processing.retry import Failure, FailureKind, RetryPolicy
from processing.tally import Tally


@dataclass(slots=True)
class Replaying:
    """What the keys of one redrive share. `stopped` says why no further event is started."""

    reader: PoisonReader
    poison: PoisonQueue
    store: ParkingStore
    claims: ClaimChecks
    handler: LoadedHandler
    retry: RetryPolicy
    admits: Callable[[], bool]
    instance: str
    lease_seconds: float
    token: str
    stopped: str = ""

    def stop(self, why: str) -> None:
        """Start no further event; the first reason counts."""
        self.stopped = self.stopped or why

    def may_start(self) -> bool:
        """Whether another event may start."""
        if not self.admits():
            self.stop("the circuit is not closed: approve it first")
        return not self.stopped


class KeyReplay:
    """The replay of one key.

    Args:
        shared: what the keys of the redrive share.
        source, key: whose events.
        received: its poison messages, held.
        tally: where to count.
    """

    def __init__(
        self,
        shared: Replaying,
        source: Source,
        key: str | None,
        received: Sequence[Received],
        tally: Tally,
    ) -> None:
        self._shared = shared
        self._store = shared.store
        self._place = (source, key)
        self._tally = tally
        self._lease = KeyLease(shared.store, source, key, shared.token, shared.lease_seconds)
        self._received: dict[Position, list[Received]] = defaultdict(list)
        for each in received:
            self._received[position_of(each.message)].append(each)

    async def run(self) -> None:
        """Replay the key, or count it as busy if another redrive has it.

        Raises:
            LeaseLostError: the lease ran out, and another redrive may have the key.
            StorageUnavailableError: a store did not answer; what is not replayed stays.
        """
        if not await self._lease.take():
            self._tally.busy += 1
            return
        async with self._lease.held():
            await self._replay_loose()
            await self._replay_parked()

    async def _replay_loose(self) -> None:
        """Messages that no parked list has: their keys went on without them."""
        for position in sorted(self._received):
            copies = self._received[position]
            if await self._is_parked(position):
                continue
            message = copies[0].message
            if message.parked and await self._store.is_stale(self._place[0], message.verdict):
                await self._remove(copies)
                self._tally.count(stale=len(copies))
            elif (held := await self._still_held(copies)) and not await self._replay_message(held):
                return

    async def _replay_message(self, copies: Sequence[Received]) -> bool:
        """Replay one loose message; whether to go on."""
        message, *_ = (each.message for each in copies)
        whole = message
        if message.claim_check is not None:
            try:
                whole = message.whole(await self._shared.claims.get(message.claim_check))
            except (StorageUnavailableError, ValueError) as error:
                self._tally.unreadable(message.id, message.key, error)
                return True
        if not self._may_start():
            return False
        failure = await self._shared.retry.run(self._shared.handler.handle, whole.event)
        if failure is None:
            await self._remove(copies)
            await self._remove_blob(message.claim_check)
            self._tally.count(replayed=1)
            return True
        if failure.kind is FailureKind.DEPENDENCY:
            self._stop_for(failure)
            return False
        failed = await self._shared.claims.shrink(message.failed_again(failure))
        await self._shared.reader.update(copies[0], failed)
        await self._remove(copies[1:])
        self._tally.fail(failed)
        return True

    async def _replay_parked(self) -> None:
        """The parked list, from its first entry on, until it is empty and the key released."""
        while entries := await self._store.entries(*self._place):
            for entry in entries:
                if not await self._replay_entry(entry):
                    return

    async def _replay_entry(self, entry: Entry) -> bool:
        """Replay one entry; whether to go on."""
        try:
            event, message, check = await self._resolve(entry)
        except (StorageUnavailableError, ValueError) as error:
            self._tally.unreadable(f"{self._place[0]} {entry.position}", self._place[1], error)
            return False
        if not self._may_start():
            return False
        failure = await self._shared.retry.run(self._shared.handler.handle, event)
        if failure is not None:
            if failure.kind is FailureKind.DEPENDENCY:
                self._stop_for(failure)
            else:
                await self._fail(entry, event, message, check, failure)
            return False
        verdict = "" if message is None else message.verdict
        # First the list: from here on copies of the message are known to be stale.
        left = await self._store.finish(*self._place, self._shared.token, entry.position, verdict)
        await self._remove(self._received.pop(entry.position, []))
        await self._remove_blob(check)
        self._tally.released += left == 0
        self._tally.count(replayed=1)
        return left > 0

    async def _fail(
        self,
        entry: Entry,
        event: Event,
        message: PoisonMessage | None,
        check: ClaimCheck | None,
        failure: Failure,
    ) -> None:
        """Keep the entry, as a poisoned one, and have the poison queue say so."""
        if message is not None:
            failed = await self._shared.claims.shrink(message.failed_again(failure))
            new = entry.kind is EntryKind.UNANNOUNCED
        else:
            failed = PoisonMessage.from_failure(
                event,
                failure,
                source=self._place[0],
                handler=self._shared.handler.name,
                circuit_generation=0,
                instance=self._shared.instance,
            )
            failed = await self._shared.claims.shrink(replace(failed, redrives=1, parked=True))
            new = True
        kind = EntryKind.UNANNOUNCED if new else EntryKind.POISON
        at = entry.position
        await self._store.replace(*self._place, self._shared.token, at, kind + failed.to_json())
        if new:
            await self._shared.poison.put(failed)
            await self._store.announced(*self._place, at)
        for copy in self._received.get(at, []):
            await self._shared.reader.update(copy, failed)
        if message is None:
            await self._remove_blob(check)
        self._tally.fail(failed)

    async def _resolve(self, entry: Entry) -> tuple[Event, PoisonMessage | None, ClaimCheck | None]:
        """The entry's event, its poison message if it is a poisoned one, and its claim check."""
        claims = self._shared.claims
        if entry.kind is EntryKind.EVENT:
            parked = ParkedEvent.from_json(entry.document)
            if (check := parked.claim_check) is not None:
                parked = ParkedEvent.from_json(await claims.get_bytes(check))
            return parked.event, None, check
        message = whole = PoisonMessage.from_json(entry.document)
        if (check := message.claim_check) is not None:
            whole = message.whole(await claims.get(check))
        return whole.event, message, check

    async def _still_held(self, copies: Sequence[Received]) -> list[Received]:
        """Those that are still ours, now that the lease is: a hold that ran out while this was held
        up may have let another redrive replay the message.
        """
        for copy in copies:
            await self._shared.reader.renew(copy)
        return [copy for copy in copies if not copy.gone]

    async def _is_parked(self, position: Position) -> bool:
        entry = await self._store.document(*self._place, position)
        return entry is not None

    def _may_start(self) -> bool:
        self._lease.check()
        return self._shared.may_start()

    def _stop_for(self, failure: Failure) -> None:
        error = failure.error
        self._shared.stop(f"a dependency is down: {type(error).__name__}: {error}")

    async def _remove(self, copies: Sequence[Received]) -> None:
        for copy in copies:
            await self._shared.reader.remove(copy)

    async def _remove_blob(self, check: ClaimCheck | None) -> None:
        if check is not None:
            await self._shared.claims.delete(check)
