"""The faults that a test or a chaos run injects into a running endpoint."""

from __future__ import annotations

from local.event_hubs.control.partition_stealer import PartitionStealer
from local.event_hubs.errors import CONNECTION_FORCED, DETACH_FORCED, SERVER_BUSY, AmqpError
from local.event_hubs.hub.hub import RedeliveringLink
from local.event_hubs.service import Service


class Faults:
    """Fault injection for a running endpoint. Hub names ignore case.

    All methods take effect at once. Durations are in seconds, and 0 ends a fault. Methods with a
    hub raise `AmqpError` (`amqp:not-found`) if the hub does not exist.
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
        """Detach the publishing and receiving links of a hub; return their number.

        Args:
            hub: the hub's name.
            partition: only links of this partition.
            group: only receivers of this consumer group.
            error: the error for the peers; `amqp:link:detach-forced` by default.
        """
        reason = error or AmqpError(DETACH_FORCED, "The link was detached by an injected fault.")
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
        """Cut the connections of a hub, or all connections without a hub; return their number.

        With `politely` an AMQP close (`amqp:connection:forced`) is sent first.
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
        """Redeliver each receiver's last events, as "at least once" allows; return their number.

        Args:
            hub: the hub's name.
            events: number of last events per receiver, at most the events that the link delivered.
            partition: only receivers of this partition.
        """
        return sum(
            link.redeliver(events)
            for link in self._service.namespace.hub(hub).links
            if isinstance(link, RedeliveringLink) and partition in (None, link.partition)
        )

    def throttle(self, hub: str, seconds: float, *, events_per_second: float = 0.0) -> None:
        """Refuse publications above a rate as busy for `seconds`.

        Rate 0 refuses all publications and new links.
        """
        self._service.namespace.hub(hub).injected_faults.throttle(
            self._until(seconds), events_per_second
        )

    def slow_down(self, hub: str, seconds: float, *, events_per_second: float = 0.0) -> None:
        """Limit the delivery rate of each receiver for `seconds`; rate 0 delivers nothing.

        Receivers get no error, because the service also limits egress without an error.
        """
        injected_faults = self._service.namespace.hub(hub).injected_faults
        injected_faults.slow_down(self._until(seconds), events_per_second)
        self._service.wake_receivers()

    def refuse(self, hub: str, seconds: float, *, error: AmqpError | None = None) -> None:
        """Refuse a hub's new links and publications for `seconds`, by default as `server-busy`."""
        reason = error or AmqpError(SERVER_BUSY, "The request was refused by an injected fault.")
        self._service.namespace.hub(hub).injected_faults.refuse(reason, self._until(seconds))

    def refuse_connections(self, seconds: float) -> None:
        """Cut new connections at once for `seconds`; open connections stay open."""
        self._service.connections_refused_until = self._service.now() + seconds

    def delay(self, milliseconds: float, seconds: float) -> None:
        """Delay all output on all connections for `seconds`, as over a slow network."""
        self._service.latency_ms = milliseconds
        self._service.latency_until = self._service.now() + seconds

    def lose_acknowledgements(self, hub: str, publications: int = 1) -> None:
        """Append the next publications, but detach their links instead of an acknowledgement.

        The producers retry, so that the events are stored twice.
        """
        self._service.namespace.hub(hub).injected_faults.lose_acknowledgements(publications)

    def shift_clock(self, seconds: float) -> float:
        """Set the broker's clock forward, or back by a number below 0; return the new offset."""
        return self._service.now.shift(seconds)

    def steal(
        self, hub: str, partition: int, *, group: str = "$Default", seconds: float = 0.0
    ) -> int:
        """Displace a partition's receivers by a higher epoch; return their number.

        Args:
            hub: the hub's name.
            partition: the partition's number.
            group: the consumer group.
            seconds: time for which the partition is held; lower epochs are refused until then.

        Raises:
            AmqpError: `amqp:not-found`, the hub, partition or group does not exist.
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
