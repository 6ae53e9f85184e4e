"""A receiver without a connection: it takes a partition away from whoever reads it."""

from __future__ import annotations

from local.event_hubs.errors import AmqpError
from local.event_hubs.hub.epochs import Receiver
from local.event_hubs.hub.hub import EventHub


class Thief:
    """Attached to a hub like a link, with an epoch above all others."""

    def __init__(self, hub: EventHub, partition: int, group: str) -> None:
        self.hub = hub
        self.partition: int | None = partition
        self.group: str | None = group
        present = (link.claim for link in hub.receivers(partition, group))
        epochs = [claim.epoch for claim in present if claim is not None and claim.epoch is not None]
        self.claim: Receiver | None = Receiver("thief", max(epochs, default=-1) + 1)

    def take(self) -> int:
        """Displace the partition's receivers; return how many those were."""
        before = len(self.hub.receivers(self.partition or 0, self.group or ""))
        self.hub.admit(self)
        return before

    def leave(self) -> None:
        """Give the partition free."""
        self.hub.links.discard(self)

    def detach(self, error: AmqpError) -> None:
        """Somebody with a higher epoch has come, or the hub is gone."""
        del error
        self.leave()
