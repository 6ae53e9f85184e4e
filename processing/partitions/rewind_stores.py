"""The stores that a rewind reads and changes."""

from __future__ import annotations

from dataclasses import dataclass

from processing.identity import Identity
from processing.parking.marks import MarkStore
from processing.parking.store import ParkingStore
from processing.partitions.checkpoints import HostCheckpoints
from processing.partitions.hub_changes import HubChanges
from processing.partitions.positions import HubPositions
from processing.poison.discard_records import DiscardRecords
from processing.progress.store import ProgressStore


@dataclass(frozen=True, slots=True, kw_only=True)
class RewindStores:
    """The stores of one hub and consumer group, as a rewind uses them.

    Attributes:
        checkpoints: the host's checkpoints.
        positions: the positions of events in the hub.
        progress: the finished events.
        parking: the parked lists.
        marks: the marks of the events that only Redis has.
        discards: the records of discarded events.
        identity: the app.
        changes: the changes of the hub; None: a plan does not warn of them.
    """

    checkpoints: HostCheckpoints
    positions: HubPositions
    progress: ProgressStore
    parking: ParkingStore
    marks: MarkStore
    discards: DiscardRecords
    identity: Identity
    changes: HubChanges | None = None
