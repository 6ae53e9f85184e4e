"""Faults on request: what a test or a chaos run does to the clients of a running endpoint."""

from __future__ import annotations

from local.event_hubs.errors import CONNECTION_FORCED, DETACH_FORCED, AmqpError
from local.event_hubs.service import Service
from local.event_hubs.subscribe import Subscription


class Faults:
    """Breaks what clients rely on. All methods act at once and name hubs in either case."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def detach_links(
        self,
        hub: str,
        *,
        partition: int | None = None,
        group: str | None = None,
        error: AmqpError | None = None,
    ) -> int:
        """Detach a hub's links, publishing and receiving; return how many.

        Args:
            hub: the hub's name.
            partition: only links of this partition.
            group: only receivers of this consumer group.
            error: what they are told; `amqp:link:detach-forced` if not given.

        Raises:
            AmqpError: `amqp:not-found`, there is no such hub.
        """
        reason = error or AmqpError(
            DETACH_FORCED, "The link was detached by a fault that was asked for."
        )
        detached = 0
        for link in list(self._service.namespace.hub(hub).links):
            if partition is not None and link.partition != partition:
                continue
            if group is not None and (link.group or "").lower() != group.lower():
                continue
            link.detach(reason)
            detached += 1
        return detached

    def drop_connections(self, hub: str | None = None, *, politely: bool = False) -> int:
        """Cut the connections that use a hub (all, without a hub); return how many.

        Politely means with an AMQP close (`amqp:connection:forced`), else the socket is just gone.
        """
        dropped = 0
        for connection in list(self._service.connections):
            if hub is not None and hub.lower() not in {name.lower() for name in connection.hubs}:
                continue
            if politely:
                connection.shut_down(
                    AmqpError(CONNECTION_FORCED, "The connection was closed by an operator.")
                )
            else:
                connection.abort()
            dropped += 1
        return dropped

    def redeliver(self, hub: str, events: int, *, partition: int | None = None) -> int:
        """Deliver each receiver's last events again, as "at least once" allows; return how many.

        Args:
            hub: the hub's name.
            events: how many of the last ones; never more than the link has delivered.
            partition: only to receivers of this partition.

        Raises:
            AmqpError: `amqp:not-found`, there is no such hub.
        """
        return sum(
            link.redeliver(events)
            for link in self._service.namespace.hub(hub).links
            if isinstance(link, Subscription) and partition in (None, link.partition)
        )

    def throttle(self, hub: str, seconds: float) -> None:
        """Refuse a hub's publications and new links as busy for a while; 0 ends that.

        Raises:
            AmqpError: `amqp:not-found`, there is no such hub.
        """
        until = self._service.now_ms() + int(seconds * 1000) if seconds > 0 else 0
        self._service.namespace.hub(hub).busy_until_ms = until
