"""Publishing links, which acknowledge a transfer only after the append."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cproton import (
    PN_ACCEPTED,
    pn_delivery_aborted,
    pn_delivery_partial,
    pn_delivery_pending,
    pn_delivery_settle,
    pn_delivery_settled,
    pn_delivery_update,
    pn_link_advance,
    pn_link_credit,
    pn_link_flow,
    pn_link_recv,
)
from proton import Delivery

from local.event_hubs.connection.links import LinkHandler, Owner
from local.event_hubs.errors import DETACH_FORCED, MESSAGE_SIZE_EXCEEDED, AmqpError
from local.event_hubs.hub.epochs import Receiver
from local.event_hubs.hub.hub import EventHub

MAX_MESSAGE_SIZE = 1024 * 1024
CREDIT = 300


class Publisher(LinkHandler):
    """A publishing link to a hub or to one of its partitions."""

    group: str | None = None
    claim: Receiver | None = None

    def __init__(
        self,
        owner: Owner,
        link: Any,
        hub: EventHub,
        partition: int | None,
        now: Callable[[], float],
    ) -> None:
        super().__init__(owner, link)
        self.hub = hub
        self.partition = partition
        self.used_at = now()
        self._now = now
        self._oversize = 0

    def attach(self) -> None:
        """Confirm the link and give credit."""
        self.link.max_message_size = MAX_MESSAGE_SIZE
        self.accept()
        self.hub.links.add(self)
        pn_link_flow(self.link._impl, CREDIT)

    def detach_if_idle(self, limit_seconds: float) -> None:
        """Detach the link if nothing was published for `limit_seconds`."""
        if self._now() - self.used_at < limit_seconds:
            return
        minutes, seconds = divmod(int(limit_seconds), 60)
        self.detach(
            AmqpError(
                DETACH_FORCED,
                f"The link '{self.link.name}' is force detached. Code: publisher. Details: "
                "AmqpEventHubPublisher.IdleTimerExpired: Idle timeout: "
                f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}.",
            )
        )

    def on_closed(self) -> None:
        """Remove the link from the hub."""
        self.hub.links.discard(self)

    def on_delivery(self, delivery: Any, message_format: int) -> int:
        """Append and settle a complete transfer; discard a transfer that is too large."""
        link = self.link._impl
        self.used_at = self._now()
        size = pn_delivery_pending(delivery)
        if pn_delivery_aborted(delivery):
            pn_delivery_settle(delivery)
            self._oversize = 0
            return 0
        partial = pn_delivery_partial(delivery)
        if self._oversize or size > MAX_MESSAGE_SIZE:
            self._oversize += size
        if self._oversize or self.closed:
            pn_link_recv(link, size)
        if partial:
            return 0 if self._oversize or self.closed else size
        data = b"" if self._oversize or self.closed else bytes(pn_link_recv(link, size)[1])
        pn_link_advance(link)
        if not self.closed:
            if not self._settle(delivery, data, message_format):
                return 0
            if (missing := CREDIT - pn_link_credit(link)) >= CREDIT // 2:
                pn_link_flow(link, missing)
        self._oversize = 0
        pn_delivery_settle(delivery)
        return 0

    def _settle(self, delivery: Any, message: bytes, message_format: int) -> bool:
        """Append and acknowledge a message; return False if a fault drops the acknowledgement."""
        acknowledge = not pn_delivery_settled(delivery)
        try:
            self._require_size()
            self.hub.publish(message, message_format, self.partition)
        except AmqpError as error:
            if acknowledge:
                rejected = Delivery.wrap(delivery)
                rejected.local.condition = self.owner.tracking.condition(error, self.link)
                rejected.update(Delivery.REJECTED)
        else:
            if self.hub.injected_faults.loses_acknowledgement():
                self.detach(
                    AmqpError(DETACH_FORCED, "The link was detached before the acknowledgement.")
                )
                return False
            if acknowledge:
                pn_delivery_update(delivery, PN_ACCEPTED)
        return True

    def _require_size(self) -> None:
        if self._oversize:
            raise AmqpError(
                MESSAGE_SIZE_EXCEEDED,
                f"The received message (size: {self._oversize} bytes) exceeds the limit "
                f"({MAX_MESSAGE_SIZE} bytes) currently allowed on the link.",
            )
