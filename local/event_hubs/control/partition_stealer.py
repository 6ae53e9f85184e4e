"""A receiver without a connection that displaces the receivers of a partition."""

from __future__ import annotations

from local.event_hubs.errors import AmqpError
from local.event_hubs.hub.epochs import Receiver
from local.event_hubs.hub.hub import EventHub


class PartitionStealer:
    """A receiver with an epoch above all others, attached to a hub like a link."""

    def __init__(self, hub: EventHub, partition: int, group: str) -> None:
        self.hub = hub
        self.partition: int | None = partition
        self.group: str | None = group
        present = (link.claim for link in hub.receivers(partition, group))
        epochs = [claim.epoch for claim in present if claim is not None and claim.epoch is not None]
        self.claim: Receiver | None = Receiver("partition-stealer", max(epochs, default=-1) + 1)

    def steal(self) -> int:
        """Displace the receivers of the partition and return their number."""
        before = len(self.hub.receivers(self.partition or 0, self.group or ""))
        self.hub.admit(self)
        return before

    def release(self) -> None:
        """Release the partition."""
        self.hub.links.discard(self)

    def detach(self, error: AmqpError) -> None:
        """Release the partition after a higher epoch was admitted or the hub was deleted."""
        del error
        self.release()
