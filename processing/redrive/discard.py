"""Discard: an operator's decision that a poisoned event will never be handled.

A discard is a redrive that writes a record of one event instead of handling that event. Therefore
the discard holds the key's lease, replays the events parked behind the event in order, and makes
other copies of the event's message stale.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from processing.errors import DependencyUnavailableError, StorageUnavailableError
from processing.event import Event
from processing.formats import json_text
from processing.identity import Identity
from processing.poison.claim_checks import ClaimChecks, first_with_body
from processing.poison.discard_records import record_name
from processing.poison.finding import find_copies
from processing.poison.index.index import PoisonIndex
from processing.poison.message import ClaimCheck, PoisonMessage
from processing.poison.queue import PoisonReader


@dataclass(slots=True)
class Discard:
    """A decision to discard one event.

    Attributes:
        message: the event's message, complete unless its body is lost.
        by: the operator's name.
        at: time of the decision, ISO 8601.
        reason: the operator's reason.
        body_lost_reason: why the body could not be read, or "".
        lost_checks: the claim checks of a lost body. If their blobs are restored, they must not be
            removed: the record does not contain the body.
        recorded: whether the record is written.
    """

    message: PoisonMessage
    by: str
    at: str
    reason: str
    body_lost_reason: str = ""
    lost_checks: frozenset[ClaimCheck] = frozenset()
    recorded: bool = False

    @classmethod
    async def decide(
        cls,
        reader: PoisonReader,
        claims: ClaimChecks,
        name: str,
        *,
        own: Identity,
        by: str,
        reason: str,
        index: PoisonIndex | None = None,
    ) -> Self:
        """Return the decision on the app's message whose id is `name`, or ends with it after a "/".

        With an index, not all messages of the queue are received.

        Raises:
            OtherAppError: only another app has a message with that id.
            ProcessingError: no message has that id, or several messages do.
            StorageUnavailableError: the message cannot be read now; its body may still exist.
        """
        copies = await find_copies(reader, name, own, index=index)
        message, lost = await first_with_body(copies, claims)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        if lost is None:
            return cls(message, by, now, reason)
        checks = frozenset(copy.claim_check for copy in copies if copy.claim_check is not None)
        return cls(message, by, now, reason, str(lost), checks)

    @property
    def blob(self) -> str:
        """The name of the record's blob; a repeat of the decision overwrites the record.

        The record of a lost body has a name of its own: the record of an earlier discard of the
        same event may contain the body.
        """
        message = self.message
        return record_name(
            *(message.source, message.sequence_number, message.enqueued_ms),
            has_body=not self.body_lost_reason,
        )

    @property
    def record(self) -> bytes:
        """The decision as JSON."""
        decision = {
            "by": self.by,
            "at": self.at,
            "reason": self.reason,
            "body_lost": self.body_lost_reason,
        }
        return json_text.dumps(decision | {"message": self.message.to_dict()}).encode()

    def concerns(self, event: Event | PoisonMessage) -> bool:
        """Return whether the decision concerns this event."""
        return (event.source, event.id) == (self.message.source, self.message.id)

    def wrap(
        self, handle: Callable[[Event], Awaitable[None]], claims: ClaimChecks
    ) -> Callable[[Event], Awaitable[None]]:
        """Return a handler that records this event and passes all others to `handle`.

        The handler raises `DependencyUnavailableError` if the record cannot be written; the event
        stays.
        """

        async def discarding(event: Event) -> None:
            if not self.concerns(event):
                await handle(event)
                return
            try:
                await claims.put_record(self.blob, self.record)
            except StorageUnavailableError as error:
                raise DependencyUnavailableError(str(error)) from error
            self.recorded = True

        return discarding
