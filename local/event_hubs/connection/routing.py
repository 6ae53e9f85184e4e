"""The choice of a new link's handler by its address and the connection's authorization."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cproton import pn_link_session

from local.event_hubs.connection.address import CBS, Address, address_of
from local.event_hubs.connection.cbs import Authorization
from local.event_hubs.connection.links import LinkHandler, Owner
from local.event_hubs.connection.management import Management
from local.event_hubs.connection.publisher import Publisher
from local.event_hubs.connection.request_reply import ReplyLink, RequestLink
from local.event_hubs.connection.subscription import RUNTIME_METRIC, Subscription
from local.event_hubs.errors import NOT_ALLOWED, AmqpError, invalid_partition
from local.event_hubs.hub.hub import EventHub
from local.event_hubs.hub.partition_log import PartitionLog
from local.event_hubs.protocol.engine import identity
from local.event_hubs.service import Service


class Router:
    """The factory of the handlers of one connection's links.

    Args:
        service: the endpoint's shared state.
        owner: the connection.
        links: the connection's open links, among which reply links are found.
    """

    def __init__(self, service: Service, owner: Owner, links: Mapping[int, LinkHandler]) -> None:
        self._service = service
        self._owner = owner
        self._links = links
        self.authorization = Authorization(service.keys, service.now)
        self._management = Management(service.namespace, self.authorization.require)

    def handler_for(self, link: Any, attach_frame: bytes) -> LinkHandler:
        """Create the handler for a new link without attaching the link.

        Raises:
            AmqpError: the address does not exist, the connection may not use the address, or an
                injected fault refuses the link.
        """
        address = address_of(link)
        if address.is_service_node:
            return self._node_link(link, address)
        self.authorization.require(address.hub)
        return (
            self._publisher(link, address)
            if link.is_receiver
            else self._subscription(link, address, RUNTIME_METRIC in attach_frame)
        )

    def _publisher(self, link: Any, address: Address) -> Publisher:
        hub = self._service.namespace.open(address.hub)
        hub.injected_faults.check_link()
        if address.group is not None:
            raise AmqpError(NOT_ALLOWED, "Events cannot be published to a consumer group.")
        partition = None if address.partition is None else _log(hub, address.partition).partition
        return Publisher(self._owner, link, hub, partition, self._service.now)

    def _subscription(self, link: Any, address: Address, runtime_metric: bool) -> Subscription:
        hub = self._service.namespace.open(address.hub)
        hub.injected_faults.check_link()
        if address.group is None or address.partition is None:
            raise AmqpError(
                NOT_ALLOWED,
                "Events are received from <hub>/ConsumerGroups/<group>/Partitions/<id>.",
            )
        self._service.namespace.open_group(hub, address.group)
        return Subscription(
            self._owner,
            link,
            hub,
            _log(hub, address.partition),
            address.group,
            runtime_metric=runtime_metric,
            now_ms=self._service.now_ms,
        )

    def _node_link(self, link: Any, address: Address) -> LinkHandler:
        if not link.is_receiver:
            return ReplyLink(self._owner, link, address.hub)
        session = identity(pn_link_session(link._impl))

        def find_reply_link(reply_to: str | None) -> ReplyLink | None:
            candidates = [
                handler
                for handler in self._links.values()
                if isinstance(handler, ReplyLink)
                and handler.node == address.hub
                and not handler.closed
            ]
            for handler in candidates:
                if reply_to and handler.link.remote_target.address == reply_to:
                    return handler
            for handler in candidates:
                if identity(pn_link_session(handler.link._impl)) == session:
                    return handler
            return None

        node = self.authorization if address.hub == CBS else self._management
        return RequestLink(self._owner, link, node.answer, find_reply_link)


def _log(hub: EventHub, partition: str) -> PartitionLog:
    try:
        return hub.log(partition)
    except AmqpError:
        raise invalid_partition(len(hub.partitions)) from None
