"""The temporary faults that are injected into one hub."""

from __future__ import annotations

from collections.abc import Callable

from local.event_hubs.errors import SERVER_BUSY, AmqpError
from local.event_hubs.hub.token_bucket import TokenBucket


class InjectedFaults:
    """The injected faults of one hub. Times come from `now_ms`, in milliseconds since 1970."""

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
        """Refuse new links and publications with an error until a time."""
        self._refusal, self._refusal_until_ms = error, until_ms

    def throttle(self, until_ms: int, events_per_second: float = 0.0) -> None:
        """Refuse publications above a rate as busy; rate 0 refuses all, and new links."""
        self._busy_until_ms = until_ms
        self._bucket = TokenBucket(events_per_second, self._now_ms()) if events_per_second else None

    def slow_down(self, until_ms: int, events_per_second: float = 0.0) -> None:
        """Limit the delivery rate of each receiver; other events wait in the log."""
        self._slow_until_ms, self._slow_rate = until_ms, events_per_second
        self._receivers.clear()

    def lose_acknowledgements(self, count: int) -> None:
        """Leave the next `count` publications unacknowledged; 0 ends the fault."""
        self._acknowledgements_to_lose = count

    def check_link(self) -> None:
        """Check whether a new link is refused.

        Raises:
            AmqpError: an injected fault refuses new links.
        """
        now_ms = self._now_ms()
        if self._refusal is not None and now_ms < self._refusal_until_ms:
            raise self._refusal
        if self._bucket is None and now_ms < self._busy_until_ms:
            raise busy()

    def check_publication(self, events: int) -> None:
        """Check whether a publication of `events` events is refused.

        Raises:
            AmqpError: an injected fault refuses the publication.
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
        """Return how many of `events` events may be delivered to a receiver now."""
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
        """Count events that were delivered to a receiver."""
        if (bucket := self._receivers.get(receiver)) is not None:
            bucket.spend(events)

    def forget(self, receiver: object) -> None:
        """Drop the state of a receiver that has detached."""
        self._receivers.pop(receiver, None)

    def loses_acknowledgement(self) -> bool:
        """Return whether to lose the current publication's acknowledgement, and count it."""
        if self._acknowledgements_to_lose <= 0:
            return False
        self._acknowledgements_to_lose -= 1
        return True


def busy() -> AmqpError:
    """Return the service's error for a throttled hub; SDKs retry after 4 seconds."""
    return AmqpError(
        SERVER_BUSY,
        "The request was terminated because the entity is being throttled. Error code : 50002. "
        "Please wait 4 seconds and try again. To know more visit "
        "https://aka.ms/sbResourceMgrExceptions",
    )
