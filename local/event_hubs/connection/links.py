"""What all links have in common: opening, refusing, detaching."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from local.event_hubs.connection.tracking_id import TrackingIds
from local.event_hubs.errors import AmqpError


class Owner(Protocol):
    """The connection, as its links see it.

    Attributes:
        tracking: how errors are told.
    """

    tracking: TrackingIds

    def schedule_flush(self) -> None:
        """Write what the engine has to say, soon."""

    def schedule_delivery(self) -> None:
        """Give the subscriptions a turn, soon."""

    def after_flush(self, work: Callable[[], None]) -> None:
        """Do something once all that the engine has to say by now has been written."""

    def forget(self, handler: LinkHandler) -> None:
        """The link is closed on our side."""


class LinkHandler:
    """Handles one link. `link` is Proton's; `owner` the connection it lives on."""

    def __init__(self, owner: Owner, link: Any) -> None:
        self.owner = owner
        self.link = link
        self.closed = False

    def on_flow(self) -> None:
        """The peer has sent credit."""

    def on_delivery(self, delivery: Any, message_format: int) -> int:
        """A delivery (a C object) has changed; the format is that of the transfer at hand.

        Returns:
            The bytes of it that have to be kept until the rest comes.
        """
        del delivery, message_format
        return 0

    def on_closed(self) -> None:
        """The link is over, by whomever; called once."""

    def attach(self) -> None:
        """Confirm the link; what else that takes, subclasses add.

        Raises:
            AmqpError: it cannot be had, after all.
        """
        self.accept()

    def accept(self) -> None:
        """Open our end as the peer asked for it."""
        self.link.source.copy(self.link.remote_source)
        self.link.target.copy(self.link.remote_target)
        self.link.open()

    def detach(self, error: AmqpError) -> None:
        """Close the link and tell the peer why."""
        if self.closed:
            return
        self.link.condition = self.owner.tracking.condition(error, self.link)
        self.link.close()
        self.finish()
        self.owner.schedule_flush()

    def finish(self) -> None:
        """Note that the link is over."""
        if not self.closed:
            self.closed = True
            self.on_closed()
            self.owner.forget(self)


def refuse(link: Any, error: AmqpError, tracking: TrackingIds) -> None:
    """Refuse a link: attach, then detach with the reason.

    The standard wants an attach without source and target first. But the asynchronous Python SDK
    drops the error of a link that was never attached and tries again for ever; so source and
    target are there, only empty, and the error reaches whoever wants to receive.
    """
    link.open()
    link.condition = tracking.condition(error, link)
    link.close()
