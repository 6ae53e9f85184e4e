"""Discarding: an operator's word that a poisoned event will never be handled.

It is a redrive in which that one event is put on record when its turn comes, instead of being
handled. So it holds the key's lease, replays in order what is parked behind the event, and leaves
copies of its message stale.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

from processing.errors import DependencyUnavailableError, StorageUnavailableError
from processing.event import Event
from processing.parked_event import position_of
from processing.poison import ClaimChecks, PoisonMessage

FOLDER = "discarded"


@dataclass(slots=True)
class Discard:
    """A decision: which event, whole, and who says so, when (ISO 8601) and why.

    Attributes:
        recorded: whether the event's turn came and the record is written.
    """

    message: PoisonMessage
    by: str
    at: str
    reason: str
    recorded: bool = False

    @property
    def blob(self) -> str:
        """The record's name; a repeat of the decision overwrites it."""
        return f"{FOLDER}/{self.message.id}.json"

    @property
    def record(self) -> bytes:
        """The decision as JSON."""
        who = {"by": self.by, "at": self.at, "reason": self.reason}
        return json.dumps(who | {"message": asdict(self.message)}, default=str).encode()

    def around(
        self, handle: Callable[[Event], Awaitable[None]], claims: ClaimChecks
    ) -> Callable[[Event], Awaitable[None]]:
        """A handler that records this event and gives all others to the real one.

        It raises `DependencyUnavailableError` if the record can't be written: the event stays.
        """
        place = self.message.partition, position_of(self.message)

        async def discarding(event: Event) -> None:
            if (event.partition, position_of(event)) != place:
                await handle(event)
                return
            try:
                await claims.put_bytes(self.blob, self.record)
            except StorageUnavailableError as error:
                raise DependencyUnavailableError(str(error)) from error
            self.recorded = True

        return discarding
