"""The common base of all links: attach, refuse, detach."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from local.event_hubs.connection.tracking_id import TrackingIds
from local.event_hubs.errors import AmqpError


class Owner(Protocol):
    """The interface of a connection for its links.

    Attributes:
        tracking: adds tracking ids to the errors for the peer.
    """

    tracking: TrackingIds

    def schedule_flush(self) -> None:
        """Schedule a write of the engine's output."""

    def schedule_delivery(self) -> None:
        """Schedule a delivery turn of the subscriptions."""

    def after_flush(self, work: Callable[[], None]) -> None:
        """Call a function after the current output of the engine has been written."""

    def forget(self, handler: LinkHandler) -> None:
        """Drop a link that the endpoint has closed."""


class LinkHandler:
    """The handler of one link.

    Attributes:
        owner: the connection of the link.
        link: Proton's link.
        closed: whether the link has ended.
    """

    def __init__(self, owner: Owner, link: Any) -> None:
        self.owner = owner
        self.link = link
        self.closed = False

    def on_flow(self) -> None:
        """Handle a flow frame, which may bring credit."""

    def on_delivery(self, delivery: Any, message_format: int) -> int:
        """Handle a change of a delivery (a C object) by a transfer with this message format.

        Returns:
            The number of bytes that are buffered until the delivery is complete.
        """
        del delivery, message_format
        return 0

    def on_closed(self) -> None:
        """Release the link's resources; called once, when either side has closed the link."""

    def attach(self) -> None:
        """Confirm the link. Subclasses add their own steps.

        Raises:
            AmqpError: the link is refused.
        """
        self.accept()

    def accept(self) -> None:
        """Open the endpoint's side of the link with the peer's source and target."""
        self.link.source.copy(self.link.remote_source)
        self.link.target.copy(self.link.remote_target)
        self.link.open()

    def detach(self, error: AmqpError) -> None:
        """Close the link and report the error to the peer."""
        if self.closed:
            return
        self.link.condition = self.owner.tracking.condition(error, self.link)
        self.link.close()
        self.finish()
        self.owner.schedule_flush()

    def finish(self) -> None:
        """Mark the link as ended and release its resources."""
        if not self.closed:
            self.closed = True
            self.on_closed()
            self.owner.forget(self)


def refuse(link: Any, error: AmqpError, tracking: TrackingIds) -> None:
    """Refuse a link by an attach, followed by a detach with the error.

    The standard requires an attach without source and target. But the asynchronous Python SDK
    drops the error of a link that was never attached, and retries without end. The attach
    therefore has an empty source and target, so that the error reaches the receiving client.
    """
    link.open()
    link.condition = tracking.condition(error, link)
    link.close()
