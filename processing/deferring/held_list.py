"""The list of a deferred key under the lease of its replay: what the replay writes."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from functools import partial

from processing.deferring.context import ReplayContext
from processing.deferring.parts import Place, error_text, list_name
from processing.deferring.writes import UNAVAILABLE
from processing.errors import LeaseLostError, StorageUnavailableError
from processing.event import Event
from processing.formats.event_fields import log_fields
from processing.handlers.failure_line import error_line
from processing.parking.deferral import Deferral
from processing.parking.event import Lone
from processing.parking.store import Entry, EntryKind
from processing.parking.waking import Seen
from processing.poison.message import ClaimCheck, PoisonMessage
from processing.redrive.key_lease import KeyLease
from processing.redrive.selection import id_at

logger = logging.getLogger(__name__)


class HeldList:
    """The list of a deferred key, whose lease a replay holds.

    Each write is repeated until it succeeds, but for no longer than `Writes` does.

    Args:
        context: the state that the replays of the instance share.
        place: the partition and the key.
        lease: the key's lease.

    Attributes:
        deferral: the key's deferral, with the numbers of its first event; set before any write.
        finished: number of finished events.
    """

    deferral: Deferral

    def __init__(self, context: ReplayContext, place: Place, lease: KeyLease) -> None:
        self._context = context
        self._parts = context.parts
        self._store = context.parking.store
        self._claims = context.parking.claims
        self._persist = context.writes.persist
        self._lease = lease
        self.place = place
        self.finished = 0

    @property
    def name(self) -> str:
        """The name of the list's first event in a log line, or of the list."""
        place, head = self.place, self.deferral.head
        return f"{list_name(place)}, event {id_at(place[0], head)}" if head else list_name(place)

    async def postpone(self, pause: float, seen: Seen | None = None) -> None:
        """Store the deferral; the next replay is due after the pause.

        Args:
            pause: seconds; less if the keys have been woken since the state in `seen`.
            seen: the circuit of the dependency that has failed, when the attempt began.
        """
        place = (*self.place, self._lease.token)
        postpone = partial(self._store.postpone, seen=seen)
        await self._persist(postpone, *place, self.deferral, pause)

    async def postpone_after(self, error: Exception) -> float:
        """Postpone a key after an error that is no failed attempt, and return the pause."""
        pause = self._count_try(error)
        await self.postpone(pause)
        return pause

    async def try_to_postpone_after(self, error: Exception) -> None:
        """Postpone a key after an error of a store, if the store of the lists answers now.

        Another store may be away, such as the poison queue. Without a pause, the handler would be
        called again at once.
        """
        pause = self._count_try(error)
        with suppress(LeaseLostError, *UNAVAILABLE):
            await self._store.postpone(*self.place, self._lease.token, self.deferral, pause)

    def _count_try(self, error: Exception) -> float:
        """Count a try that was no failed attempt, and return the pause after the try."""
        tries = self.deferral.tries + 1
        self.deferral = replace(self.deferral, tries=tries, error=error_text(error))
        return self.deferral.pause_seconds(self._parts.settings.defer_max_seconds)

    async def postpone_unread(self, error: Exception) -> None:
        """Postpone a key whose first event cannot be read now; that is no failed attempt."""
        pause = await self.postpone_after(error)
        logger.error(
            "The replay of %s ended, because the event cannot be read: %s; the next replay is due "
            "in %g s",
            *(self.name, error_text(error), pause),
        )

    async def poison(
        self,
        entry: Entry,
        event: Event,
        message: PoisonMessage,
        check: ClaimCheck | None,
        *,
        why: str,
    ) -> bool:
        """Poison the first event; return whether to replay the next one."""
        # Nothing waits behind an event that is deferred alone.
        parks = self._parts.settings.poison_ordering == "park"
        if parks and not isinstance(self.place[1], Lone):
            message = await self._persist(self._claims.shrink, replace(message, parked=True))
            self.deferral = replace(self.deferral, tries=0)  # of the message from now on
            await self._announce(entry, message, check, why)
            return False
        await self._persist(self._parts.poison.put, message)
        self._log_poisoned(message, why)
        return await self.finish(entry, event, check, "poisoned")

    async def announce_again(self, entry: Entry) -> None:
        """Announce a poisoned event whose replay ended before the poison queue had its message."""
        try:
            message = PoisonMessage.from_json(entry.document)
        except ValueError as error:
            await self.postpone_unread(error)
            return
        await self._announce(entry, message, None, "an earlier replay has not announced it")

    async def _announce(
        self, entry: Entry, message: PoisonMessage, check: ClaimCheck | None, why: str
    ) -> None:
        """Park the key behind its poisoned event, and put the event's message into the queue.

        While the queue does not take the message, the key stays deferred, and each replay of the
        key tries once, so that the messages of many keys do not take the turns of the other keys.
        """
        document = EntryKind.UNANNOUNCED + message.to_json()
        place = (*self.place, self._lease.token, entry.position)
        # The list first: a message in the queue alone could be redriven out of order.
        await self._persist(self._store.replace, *place, document)
        self._context.keys.released(self.place)
        await self._remove_blob(check)
        try:
            await self._parts.poison.put(message)
        except StorageUnavailableError as error:
            pause = await self.postpone_after(error)
            logger.warning(
                "Event %s is poisoned, but its message is not in the poison queue: %s; the next "
                "replay of its key tries again in %g s",
                *(message.id, error_text(error), pause),
            )
            return
        await self._persist(self._store.announced, *self.place, entry.position)
        self._parts.telemetry.replay_ended(self.place[0], "poisoned")
        self._log_poisoned(message, why)

    def _log_poisoned(self, message: PoisonMessage, why: str) -> None:
        error, body = message.error, message.payload if message.has_body else None
        line = error_line(error.type, error.message, error.frames, key=message.key, body=body)
        logger.warning(
            "Event %s went to the poison queue from a replay (attempts: %s): %s; %s",
            *(message.id, message.attempts, line, why),
            extra=log_fields(message),
        )

    async def finish(
        self, entry: Entry, event: Event, check: ClaimCheck | None, outcome: str = "replayed"
    ) -> bool:
        """Finish an entry; return whether entries are left."""
        finish = partial(self._store.finish, epoch=self._lease.epoch)
        place = (*self.place, self._lease.token, entry.position)
        left = await self._persist(finish, *place)
        self._context.finished += 1
        self.finished += 1
        self._parts.telemetry.event_finished(event)
        self._parts.telemetry.replay_ended(self.place[0], outcome)
        if left == 0:
            self._context.keys.released(self.place)
        await self._remove_blob(check)
        return left > 0

    async def _remove_blob(self, check: ClaimCheck | None) -> None:
        """Remove the blob of an entry that does not need its blob any more."""
        if check is None:
            return
        try:
            await self._claims.delete(check)
        except StorageUnavailableError as error:
            logger.warning(
                "The blob %s/%s of a replayed event stays: %s", check.container, check.blob, error
            )
