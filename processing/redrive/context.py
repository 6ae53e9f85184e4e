"""The state that the keys of one redrive share: stores, handler and stop reason."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from processing.dependencies.circuits import Circuits
from processing.errors import StorageUnavailableError
from processing.event import Event
from processing.handlers.loading import LoadedHandler
from processing.handlers.retry import RetryPolicy
from processing.parking.store import ParkingStore
from processing.poison.claim_checks import ClaimChecks, with_body
from processing.poison.message import ClaimCheck, PoisonMessage
from processing.poison.queue import PoisonQueue
from processing.redrive.discard import Discard
from processing.redrive.indexed_reader import IndexedReader
from processing.redrive.stopping import Stopping

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class RedriveRun:
    """The state that the keys of one redrive share.

    Attributes:
        call_seconds: longest time of one call of the handler; a lease must outlast the call.
        parks: whether a poisoned event parks its key; otherwise the key continues.
        dependencies: the circuits of the app's dependencies, which refuse calls while open.
        stopping: the stop, after which no further event is started.
    """

    reader: IndexedReader
    poison: PoisonQueue
    store: ParkingStore
    claims: ClaimChecks
    handler: LoadedHandler
    retry: RetryPolicy
    admits: Callable[[], bool]
    instance: str
    lease_seconds: float
    call_seconds: float
    parks: bool
    discard: Discard | None = None
    dependencies: Circuits | None = None
    stopping: Stopping = field(default_factory=Stopping)

    @property
    def stopped(self) -> str:
        """The reason why no further event is started, or ""."""
        return self.stopping.why

    def stop(self, why: str) -> None:
        """Start no further event, and end all pauses; the first reason is kept."""
        self.stopping.stop(why)

    async def pause(self, seconds: float) -> None:
        """Sleep until the time is over or the redrive stops."""
        await self.stopping.pause(seconds)

    def may_start(self) -> bool:
        """Return whether another event may start."""
        if not self.admits():
            self.stop("the circuit is not closed; approve it or close it first")
        return not self.stopped

    async def event_of(self, message: PoisonMessage) -> Event:
        """Return the poisoned event; an event to discard has no body.

        Raises:
            BodyLostError: the body's blob is gone.
            StorageUnavailableError: the body's blob cannot be read.
        """
        if self.discard is not None and self.discard.concerns(message):
            return replace(message, body="").event
        return (await with_body(message, self.claims)).event

    async def remove_blob(self, check: ClaimCheck | None) -> None:
        """Remove the blob of a finished event, unless a discard recorded its body as lost.

        An error of the store leaves the blob where it is, because nothing needs the blob any more.
        """
        if check is None or (self.discard is not None and check in self.discard.lost_checks):
            return
        try:
            await self.claims.delete(check)
        except StorageUnavailableError as error:
            logger.warning(
                "The blob %s/%s of a finished event stays: %s", check.container, check.blob, error
            )
