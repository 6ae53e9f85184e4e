"""The faults that are injected into one hub for a while."""

from __future__ import annotations

from collections.abc import Callable

from local.event_hubs.errors import SERVER_BUSY, AmqpError
from local.event_hubs.hub.token_bucket import TokenBucket


class InjectedFaults:
    """State of a hub's injected faults. Times come from `now_ms` (since 1970)."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._refusal: AmqpError | None = None
        self._refusal_until_ms = 0
        self._busy_until_ms = 0
        self._bucket: TokenBucket | None = None
        self._slow_until_ms = 0
        self._slow_rate = 0.0
        self._receivers: dict[object, TokenBucket] = {}
        self._acknowledgements_to_lose = 0

    def refuse(self, error: AmqpError, until_ms: int) -> None:
        """Refuse new links and publications with an error."""
        self._refusal, self._refusal_until_ms = error, until_ms

    def throttle(self, until_ms: int, events_per_second: float = 0.0) -> None:
        """Refuse what comes in above a rate as busy; at rate 0 everything, and new links too."""
        self._busy_until_ms = until_ms
        self._bucket = TokenBucket(events_per_second, self._now_ms()) if events_per_second else None

    def slow_down(self, until_ms: int, events_per_second: float = 0.0) -> None:
        """Deliver no more than that to each receiver; what is above it waits."""
        self._slow_until_ms, self._slow_rate = until_ms, events_per_second
        self._receivers.clear()

    def lose_acknowledgements(self, count: int) -> None:
        """Let so many of the next publications go unacknowledged; 0 ends that."""
        self._acknowledgements_to_lose = count

    def check_link(self) -> None:
        """Refuse a link if there is a reason to.

        Raises:
            AmqpError: there is.
        """
        now_ms = self._now_ms()
        if self._refusal is not None and now_ms < self._refusal_until_ms:
            raise self._refusal
        if self._bucket is None and now_ms < self._busy_until_ms:
            raise busy()

    def check_publication(self, events: int) -> None:
        """Refuse a publication of so many events if there is a reason to.

        Raises:
            AmqpError: there is.
        """
        if not self._refusal_until_ms and not self._busy_until_ms:
            return
        self.check_link()
        if self._bucket is None or (now_ms := self._now_ms()) >= self._busy_until_ms:
            return
        if not self._bucket.fits(events, now_ms):
            raise busy()
        self._bucket.spend(events)

    def deliverable(self, receiver: object, events: int) -> int:
        """How many of so many events a receiver may be sent now."""
        if not self._slow_until_ms:
            return events
        now_ms = self._now_ms()
        if now_ms >= self._slow_until_ms:
            self._slow_until_ms = 0
            self._receivers.clear()
            return events
        if not self._slow_rate:
            return 0
        bucket = self._receivers.get(receiver)
        if bucket is None:
            bucket = self._receivers[receiver] = TokenBucket(self._slow_rate, now_ms)
        return min(events, int(bucket.room(now_ms)))

    def delivered(self, receiver: object, events: int) -> None:
        """Count what a receiver was sent."""
        if (bucket := self._receivers.get(receiver)) is not None:
            bucket.spend(events)

    def forget(self, receiver: object) -> None:
        """A receiver has gone."""
        self._receivers.pop(receiver, None)

    def takes_acknowledgement(self) -> bool:
        """Whether the publication at hand is one whose acknowledgement gets lost."""
        if self._acknowledgements_to_lose <= 0:
            return False
        self._acknowledgements_to_lose -= 1
        return True


def busy() -> AmqpError:
    """The hub is throttled, in the service's words; SDKs wait 4 seconds and try again."""
    return AmqpError(
        SERVER_BUSY,
        "The request was terminated because the entity is being throttled. Error code : 50002. "
        "Please wait 4 seconds and try again. To know more visit "
        "https://aka.ms/sbResourceMgrExceptions",
    )
