"""What the keys of one redrive share: the stores, the handler, and why it stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from processing.event import Event
from processing.handlers.loading import LoadedHandler
from processing.handlers.retry import RetryPolicy
from processing.parking.store import ParkingStore
from processing.poison.claim_checks import ClaimChecks, with_body
from processing.poison.message import ClaimCheck, PoisonMessage
from processing.poison.queue import PoisonQueue, PoisonReader
from processing.redrive.discard import Discard


@dataclass(slots=True)
class RedriveRun:
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
    discard: Discard | None = None
    stopped: str = ""

    def stop(self, why: str) -> None:
        """Start no further event; the first reason counts."""
        self.stopped = self.stopped or why

    def may_start(self) -> bool:
        """Whether another event may start."""
        if not self.admits():
            self.stop("the circuit is not closed: approve it first")
        return not self.stopped

    async def event_of(self, message: PoisonMessage) -> Event:
        """The poisoned event; without its body if it is to be discarded, which needs none.

        Raises:
            BodyLostError: its body is gone.
            StorageUnavailableError: its body can't be read.
        """
        if self.discard is not None and self.discard.concerns(message):
            return replace(message, body="").event
        return (await with_body(message, self.claims)).event

    async def remove_blob(self, check: ClaimCheck | None) -> None:
        """Remove what is not needed any more; but not a body that is on record as lost."""
        lost = self.discard.lost_check if self.discard is not None else None
        if check not in (None, lost):
            await self.claims.delete(check)
