"""The memory stores of a test, which outlast the app's processes."""

from __future__ import annotations

from breaker import BreakerSettings, MemoryCircuitStore, MemoryDependencyStore
from processing.parking.batch import Parking
from processing.parking.memory import MemoryParkingStore
from processing.poison.memory import MemoryClaimChecks, MemoryPoisonQueue
from processing.progress.memory import MemoryProgressStore
from processing.settings import ProcessingSettings
from processing.testing.clock import TestClock


class Stores:
    """The stores that on Azure are Redis and the storage account, in memory and on a test clock.

    Args:
        clock: the test clock.
        processing: the settings of processing.
        breaking: the settings of the circuit.
    """

    def __init__(
        self, clock: TestClock, processing: ProcessingSettings, breaking: BreakerSettings
    ) -> None:
        self.claims = MemoryClaimChecks()
        self.poison = MemoryPoisonQueue(self.claims)
        self.progress = MemoryProgressStore(clock.now_ms)
        self.lists = MemoryParkingStore(
            self.progress,
            most=processing.parked_events_max,
            most_events=processing.deferred_events_max,
            most_bytes=processing.parked_megabytes_max * 2**20,
            clock=clock.time,
        )
        self.parking = Parking(self.lists, self.claims)
        self.circuit = MemoryCircuitStore(breaking.name, now_us=clock.now_us)
        self.dependencies = MemoryDependencyStore(breaking.name, now_us=clock.now_us)
