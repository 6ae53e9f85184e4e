"""The request and reply links of the nodes `$cbs` and `$management`.

A reply is sent on the reply link that the request names as reply-to, or else on the session's
reply link of the node. A request is answered in the turn in which the request arrives.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from cproton import (
    pn_delivery_partial,
    pn_delivery_pending,
    pn_delivery_settle,
    pn_link_advance,
    pn_link_credit,
    pn_link_flow,
    pn_link_queued,
    pn_link_recv,
)
from proton import Delivery, Message

from local.event_hubs.connection.links import LinkHandler, Owner
from local.event_hubs.errors import MESSAGE_SIZE_EXCEEDED, AmqpError, malformed
from local.event_hubs.protocol.engine import UNREADABLE

MAX_REQUEST_SIZE = 64 * 1024
MAX_QUEUED_REPLIES = 1000
CREDIT = 100

type Answer = Callable[[Message], Message]


class ReplyLink(LinkHandler):
    """The link that sends a node's replies."""

    def __init__(self, owner: Owner, link: Any, node: str) -> None:
        super().__init__(owner, link)
        self.node = node
        self._tags = itertools.count()

    def send(self, reply: Message) -> None:
        """Queue a reply until the peer gives credit; drop the reply if the queue is full."""
        if self.closed or pn_link_queued(self.link._impl) >= MAX_QUEUED_REPLIES:
            return
        delivery = self.link.delivery(str(next(self._tags)))
        self.link.send(reply.encode())
        delivery.settle()


class RequestLink(LinkHandler):
    """The link that receives a node's requests."""

    def __init__(
        self,
        owner: Owner,
        link: Any,
        answer: Answer,
        find_reply_link: Callable[[str | None], ReplyLink | None],
    ) -> None:
        super().__init__(owner, link)
        self._answer = answer
        self._find_reply_link = find_reply_link

    def attach(self) -> None:
        """Confirm the link and give credit."""
        self.accept()
        pn_link_flow(self.link._impl, CREDIT)

    def on_delivery(self, delivery: Any, message_format: int) -> int:
        """Answer a complete request."""
        del message_format
        link = self.link._impl
        size = pn_delivery_pending(delivery)
        if size > MAX_REQUEST_SIZE and not self.closed:
            self.detach(AmqpError(MESSAGE_SIZE_EXCEEDED, "The request is too large."))
        if self.closed:
            pn_link_recv(link, size)
        if pn_delivery_partial(delivery):
            return 0 if self.closed else size
        data = b""
        if not self.closed:
            _, data = pn_link_recv(link, size)
        pn_link_advance(link)
        if not self.closed:
            self._respond(Delivery.wrap(delivery), bytes(data))
            if (missing := CREDIT - pn_link_credit(link)) >= CREDIT // 2:
                pn_link_flow(link, missing)
        pn_delivery_settle(delivery)
        return 0

    def _respond(self, delivery: Any, data: bytes) -> None:
        try:
            request = read_request(data)
            reply = self._answer(request)
        except AmqpError as error:
            delivery.local.condition = self.owner.tracking.condition(error, self.link)
            delivery.update(Delivery.REJECTED)
            return
        reply.correlation_id = request.id
        if reply.properties["status-code"] >= 400:
            description = reply.properties["status-description"]
            reply.properties["status-description"] = self.owner.tracking.with_tracking_id(
                description
            )
        delivery.update(Delivery.ACCEPTED)
        if (reply_link := self._find_reply_link(request.reply_to)) is not None:
            # uamqp ignores a reply that arrives before the request's acknowledgement.
            self.owner.after_flush(lambda: reply_link.send(reply))


def read_request(data: bytes) -> Message:
    """Decode a request and make its `properties` a dict.

    Raises:
        AmqpError: `amqp:decode-error`, the request is malformed.
    """
    request = Message()
    try:
        request.decode(data)
        properties = request.properties
    except UNREADABLE as error:
        raise malformed(str(error)) from error
    if not isinstance(properties, dict | None):
        raise malformed("the application properties are not a map")
    request.properties = properties or {}
    return request


def text(properties: dict[Any, Any], name: str) -> str | None:
    """Return a string from a request's application properties; None for any other value."""
    value = properties.get(name)
    if isinstance(value, bytes | memoryview):
        return bytes(value).decode("utf-8", "replace")
    return str(value) if isinstance(value, str) else None
