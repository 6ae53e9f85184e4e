"""The sessions and links that a peer has opened on one connection.

A peer may open sessions and links in any order; this module bounds their memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from cproton import (
    PN_DELIVERY,
    PN_LINK_FLOW,
    PN_LINK_REMOTE_CLOSE,
    PN_LINK_REMOTE_DETACH,
    PN_LINK_REMOTE_OPEN,
    PN_SESSION_REMOTE_CLOSE,
    PN_SESSION_REMOTE_OPEN,
    pn_event_delivery,
    pn_event_link,
    pn_event_session,
    pn_link_session,
)
from proton import Link, Session

from local.event_hubs.connection.links import LinkHandler, Owner, refuse
from local.event_hubs.connection.publisher import Publisher
from local.event_hubs.connection.routing import Router
from local.event_hubs.connection.subscription import TURN_EVENTS, Subscription
from local.event_hubs.errors import (
    ILLEGAL_STATE,
    RESOURCE_LIMIT_EXCEEDED,
    UNAUTHORIZED,
    AmqpError,
    malformed,
)
from local.event_hubs.protocol.engine import UNREADABLE, EventHandler, identity
from local.event_hubs.protocol.frames import OPEN, Frame, reserve_padding_room
from local.event_hubs.protocol.message_formats import MessageFormats
from local.event_hubs.service import Service

MAX_LINKS = 5000
"""The most links of one connection, including refused links that the peer has not closed."""

MAX_UNFINISHED_BYTES = 128 * 1024 * 1024
"""The most bytes of deliveries without their last frame, over all links of a connection."""

logger = logging.getLogger(__name__)


class Endpoints:
    """The sessions and links of one connection."""

    def __init__(self, service: Service, owner: Owner) -> None:
        self.subscriptions: dict[Subscription, None] = {}
        self.links: dict[int, LinkHandler] = {}
        self._owner = owner
        self._router = Router(service, owner, self.links)
        self.handlers: Mapping[int, EventHandler] = {
            PN_SESSION_REMOTE_OPEN: self._on_session_open,
            PN_SESSION_REMOTE_CLOSE: self._on_session_close,
            PN_LINK_REMOTE_OPEN: self._on_link_open,
            PN_LINK_REMOTE_CLOSE: self._on_link_close,
            PN_LINK_REMOTE_DETACH: self._on_link_close,
            PN_LINK_FLOW: self._on_link_flow,
            PN_DELIVERY: self._on_delivery,
        }
        self._formats = MessageFormats()
        self._frame = b""
        self._opened = False
        self._sessions_of_open_links: dict[int, int] = {}
        self._unfinished: dict[int, int] = {}

    @property
    def _hub_links(self) -> list[Publisher | Subscription]:
        """The links that publish to a hub or receive from one."""
        return [link for link in self.links.values() if isinstance(link, Publisher | Subscription)]

    @property
    def hubs(self) -> set[str]:
        """The names of the hubs that the links use, in lower case."""
        return {link.hub.name.lower() for link in self._hub_links}

    def prepare(self, frame: Frame) -> bytes:
        """Record the parts of a frame that Proton does not report; return the bytes for Proton.

        Raises:
            AmqpError: `amqp:decode-error`, the frame is malformed, or `amqp:illegal-state`, the
                frame opens a connection that is already open.
        """
        self._frame = frame.data
        self._formats.record(frame)
        if frame.code != OPEN:
            return frame.data
        if self._opened:
            raise AmqpError(ILLEGAL_STATE, "The connection is already open.")
        self._opened = True
        return reserve_padding_room(frame)

    def deliver(self, may_continue: Callable[[], bool]) -> bool:
        """Run a delivery turn of the subscriptions; return whether more events can be sent.

        Args:
            may_continue: called after each subscription; False ends the turn.
        """
        room = TURN_EVENTS
        for subscription in list(self.subscriptions):
            if (sent := subscription.deliver(room)) > 0:
                # Moved to the end, so that other subscriptions come first in the next turn.
                self.subscriptions[subscription] = self.subscriptions.pop(subscription)
                room -= sent
            if not may_continue() or room <= 0:
                break
        return any(subscription.ready for subscription in self.subscriptions)

    def detach_unauthorized(self) -> None:
        """Detach the links to hubs for which the connection has no valid token."""
        for link in self._hub_links:
            if not self._router.authorization.allows(link.hub.name):
                link.detach(AmqpError(UNAUTHORIZED, "ExpiredToken: The token is expired."))

    def detach_idle_publishers(self, limit_seconds: float) -> None:
        """Detach the links on which nothing was published for `limit_seconds`."""
        for link in self._hub_links:
            if isinstance(link, Publisher):
                link.detach_if_idle(limit_seconds)

    def finish(self) -> None:
        """End all links after the connection was lost or closed."""
        for handler in list(self.links.values()):
            handler.finish()

    def forget(self, handler: LinkHandler) -> None:
        """Drop a link that the endpoint has closed from the delivery turns."""
        if isinstance(handler, Subscription):
            self.subscriptions.pop(handler, None)

    def _on_session_open(self, event: Any) -> None:
        Session.wrap(pn_event_session(event)).open()

    def _on_session_close(self, event: Any) -> None:
        session = Session.wrap(pn_event_session(event))
        ended = identity(session._impl)
        for key, owner in list(self._sessions_of_open_links.items()):
            if owner == ended:
                self._finish(key)
        session.close()
        session.free()

    def _on_link_open(self, event: Any) -> None:
        link = Link.wrap(pn_event_link(event))
        key = identity(link._impl)
        self._sessions_of_open_links[key] = identity(pn_link_session(link._impl))
        if len(self._sessions_of_open_links) > MAX_LINKS:
            raise AmqpError(
                RESOURCE_LIMIT_EXCEEDED, f"A connection may have at most {MAX_LINKS} links."
            )
        try:
            handler = self._router.handler_for(link, self._frame)
            self.links[key] = handler
            handler.attach()
        except AmqpError as error:
            self._refuse(link, error)
        except UNREADABLE as error:
            self._refuse(link, malformed(str(error)))
        else:
            if isinstance(handler, Subscription):
                self.subscriptions[handler] = None

    def _refuse(self, link: Any, error: AmqpError) -> None:
        if (handler := self.links.pop(identity(link._impl), None)) is not None:
            handler.finish()
        refuse(link, error, self._owner.tracking)
        # The client's text includes a TrackingId, by which an operator finds this line.
        logger.info("refused a link with %s: %s", error.condition, link.condition.description)

    def _on_link_close(self, event: Any) -> None:
        impl = pn_event_link(event)
        link = Link.wrap(impl)
        self._finish(identity(impl))
        link.close()
        link.free()

    def _finish(self, key: int) -> None:
        self._sessions_of_open_links.pop(key, None)
        self._unfinished.pop(key, None)
        handler = self.links.pop(key, None)
        if handler is not None:
            handler.finish()

    def _on_link_flow(self, event: Any) -> None:
        handler = self.links.get(identity(pn_event_link(event)))
        if handler is not None:
            handler.on_flow()

    def _on_delivery(self, event: Any) -> None:
        key = identity(pn_event_link(event))
        handler = self.links.get(key)
        if handler is None:
            return
        unfinished = handler.on_delivery(pn_event_delivery(event), self._formats.current)
        if unfinished:
            self._unfinished[key] = unfinished
            if sum(self._unfinished.values()) > MAX_UNFINISHED_BYTES:
                raise AmqpError(RESOURCE_LIMIT_EXCEEDED, "Too many unfinished transfers at once.")
        elif self._unfinished:
            self._unfinished.pop(key, None)
