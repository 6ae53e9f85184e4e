"""Faults on request: what a test or a chaos run does to the clients of a running endpoint."""

from __future__ import annotations

from local.event_hubs.control.partition_stealer import PartitionStealer
from local.event_hubs.errors import CONNECTION_FORCED, DETACH_FORCED, SERVER_BUSY, AmqpError
from local.event_hubs.service import Service


class Faults:
    """Breaks what clients rely on. All methods act at once and name hubs in either case.

    What lasts is given in seconds, and 0 ends it. Methods that take a hub raise `AmqpError`
    (`amqp:not-found`) if there is none of that name.
    """

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
            if hub is not None and hub.lower() not in connection.hubs:
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
        """
        return sum(
            link.redeliver(events)
            for link in self._service.namespace.hub(hub).links
            if partition in (None, link.partition)
        )

    def throttle(self, hub: str, seconds: float, *, events_per_second: float = 0.0) -> None:
        """Refuse as busy, for a while, what is published above a rate.

        At rate 0 that is everything, and new links are refused as well.
        """
        self._service.namespace.hub(hub).injected_faults.throttle(
            self._until(seconds), events_per_second
        )

    def slow_down(self, hub: str, seconds: float, *, events_per_second: float = 0.0) -> None:
        """Deliver, for a while, no more than a rate to each receiver; at rate 0 nothing.

        Receivers are not told: the service limits what goes out without an error.
        """
        injected_faults = self._service.namespace.hub(hub).injected_faults
        injected_faults.slow_down(self._until(seconds), events_per_second)
        self._service.wake_receivers()

    def refuse(self, hub: str, seconds: float, *, error: AmqpError | None = None) -> None:
        """Refuse a hub's new links and publications for a while; `server-busy` if not told why."""
        reason = error or AmqpError(SERVER_BUSY, "The request was refused, as was asked for.")
        self._service.namespace.hub(hub).injected_faults.refuse(reason, self._until(seconds))

    def refuse_connections(self, seconds: float) -> None:
        """Cut new connections as soon as they are made, for a while; those that are there stay."""
        self._service.connections_refused_until = self._service.now() + seconds

    def delay(self, milliseconds: float, seconds: float) -> None:
        """Write everything late, on all connections, as over a slow network."""
        self._service.latency_ms = milliseconds
        self._service.latency_until = self._service.now() + seconds

    def lose_acknowledgements(self, hub: str, publications: int = 1) -> None:
        """Append the next publications, but detach their links instead of saying so.

        Their producers cannot know and send again: the events are there twice.
        """
        self._service.namespace.hub(hub).injected_faults.lose_acknowledgements(publications)

    def steal(
        self, hub: str, partition: int, *, group: str = "$Default", seconds: float = 0.0
    ) -> int:
        """Take a partition away as a receiver with a higher epoch does; return who was displaced.

        Args:
            hub: the hub's name.
            partition: the partition's number.
            group: the consumer group.
            seconds: how long it is held; a lower epoch is refused meanwhile.

        Raises:
            AmqpError: `amqp:not-found`, there is no such hub, partition or group.
        """
        found = self._service.namespace.hub(hub)
        found.require_group(group)
        stealer = PartitionStealer(found, found.log(str(partition)).partition, group)
        displaced = stealer.steal()
        if seconds > 0:
            self._service.due.append((self._service.now() + seconds, stealer.release))
        else:
            stealer.release()
        return displaced

    def _until(self, seconds: float) -> int:
        return self._service.now_ms() + int(seconds * 1000) if seconds > 0 else 0
