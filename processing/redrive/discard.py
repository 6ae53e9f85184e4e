"""Discarding: an operator's word that a poisoned event will never be handled.

It is a redrive in which that one event is put on record when its turn comes, instead of being
handled. So it holds the key's lease, replays in order what is parked behind the event, and leaves
copies of its message stale.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Self

from processing.errors import BodyLostError, DependencyUnavailableError, StorageUnavailableError
from processing.event import Event
from processing.parking.event import position_of
from processing.poison.claim_checks import ClaimChecks, with_body
from processing.poison.message import ClaimCheck, PoisonMessage
from processing.poison.queue import PoisonReader, find

FOLDER = "discarded"


@dataclass(slots=True)
class Discard:
    """A decision: which event, whole, and who says so, when (ISO 8601) and why.

    Attributes:
        lost: why the message is not whole: its body is lost; else "".
        recorded: whether the event's turn came and the record is written.
    """

    message: PoisonMessage
    by: str
    at: str
    reason: str
    lost: str = ""
    recorded: bool = False

    @classmethod
    async def decide(
        cls, reader: PoisonReader, claims: ClaimChecks, name: str, *, by: str, reason: str
    ) -> Self:
        """The decision on the message in the queue that a text `names`.

        Raises:
            ProcessingError: there is none, or more than one.
            StorageUnavailableError: it can't be read; nothing is decided on what may be there.
        """
        message, lost = await find(reader, name), ""
        try:
            message = await with_body(message, claims)
        except BodyLostError as error:
            lost = str(error)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(message, by, now, reason, lost)

    @property
    def blob(self) -> str:
        """The record's name; a repeat of the decision overwrites it."""
        return f"{FOLDER}/{self.message.id}.json"

    @property
    def record(self) -> bytes:
        """The decision as JSON."""
        who = {"by": self.by, "at": self.at, "reason": self.reason, "body_lost": self.lost}
        return json.dumps(who | {"message": asdict(self.message)}, default=str).encode()

    @property
    def lost_check(self) -> ClaimCheck | None:
        """Where the lost body was. Should it come back, it stays: the record does not have it."""
        return self.message.claim_check if self.lost else None

    def concerns(self, event: Event | PoisonMessage) -> bool:
        """Whether it is about this event; all that one redrive selects is of one hub and group."""
        ours = self.message.partition, position_of(self.message)
        return (event.partition, position_of(event)) == ours

    def wrap(
        self, handle: Callable[[Event], Awaitable[None]], claims: ClaimChecks
    ) -> Callable[[Event], Awaitable[None]]:
        """A handler that records this event and gives all others to the real one.

        It raises `DependencyUnavailableError` if the record can't be written: the event stays.
        """

        async def discarding(event: Event) -> None:
            if not self.concerns(event):
                await handle(event)
                return
            try:
                await claims.put_bytes(self.blob, self.record)
            except StorageUnavailableError as error:
                raise DependencyUnavailableError(str(error)) from error
            self.recorded = True

        return discarding
