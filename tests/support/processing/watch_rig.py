"""An instance's watch, survey, health, gauges and table of partitions on stores in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

from azure.eventhub.aio import EventHubConsumerClient
from azure.eventhub.exceptions import ConnectError
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from breaker import Circuit, CircuitBreaker
from breaker.clock import ManualClock
from processing.deferring.heartbeat import MemoryHeartbeat
from processing.errors import StorageUnavailableError
from processing.handlers.results import Results
from processing.monitoring.fleet import REPORT_SECONDS, MemoryFleetStates
from processing.monitoring.health import Health, HealthReport
from processing.monitoring.overview import Partitions
from processing.monitoring.partition_state import PartitionState
from processing.monitoring.stall import Watch, held_by
from processing.monitoring.stall_gauges import create_gauges
from processing.monitoring.survey import Survey
from processing.monitoring.watching import Watching
from processing.parking.memory import MemoryParkingStore
from processing.partitions.checkpoints import Checkpoint, HostCheckpoints
from processing.partitions.gaps import MemoryGapStore
from processing.partitions.hub_changes import MemoryHubChanges
from processing.partitions.hub_created import HubCreated
from processing.partitions.lag import LagReader
from processing.partitions.positions import HubPositions
from processing.progress.memory import MemoryProgressStore
from processing.redrive.run_store import MemoryRunStore
from processing.redrive.runs import RedriveRuns
from tests.support.processing.events import IDENTITY

INSTANCE = "here:1"


class Hub:
    """An event hub whose partition 1 is empty; the others have the events `first` to `last`."""

    away = False
    described = 0
    partitions: tuple[str, ...] = ("0", "1", "2")
    first = 5
    last = 9

    created = datetime.fromtimestamp(0.001, UTC)
    broken: frozenset[str] = frozenset()

    async def get_eventhub_properties(self) -> dict[str, Any]:
        self.described += 1
        if self.away:
            raise ConnectError("no route")
        return {"created_at": self.created, "partition_ids": self.partitions}

    async def get_partition_properties(self, partition: str) -> dict[str, Any]:
        if partition in self.broken:
            raise ConnectError(f"no answer for {partition}")
        return {
            "is_empty": partition == "1" or self.first > self.last,
            "beginning_sequence_number": self.first,
            "last_enqueued_sequence_number": self.last,
        }


class NoCheckpoints:
    """A container without checkpoints and ownerships."""

    async def owners(self) -> list[Any]:
        return []

    async def read(self, _partition: str) -> None:
        return None


class AwayFleet(MemoryFleetStates):
    """A store of the fleet's view that can be made unreachable, and that counts its reports."""

    away = False
    reported = 0

    async def report(self, instance: str, states: Sequence[PartitionState]) -> None:
        self.reported += 1
        await super().report(instance, states)

    async def reports(self) -> list[Any]:
        if self.away:
            raise StorageUnavailableError("Redis does not answer")
        return await super().reports()


class WatchRig:
    """One instance, whose clock the test advances.

    Attributes:
        fleet: the fleet's view, which other rigs may share.
        warnings: the warnings of the start.
        last_success: time of the fleet's last success.
        dependencies: the circuits of dependencies, by name.
        checkpoints: the host's checkpoints; None: they cannot be read.
        timer_runs: whether the timer of the replays runs.
    """

    def __init__(
        self,
        breaker: CircuitBreaker,
        clock: ManualClock,
        *,
        fleet: AwayFleet | None = None,
        from_start: bool = True,
        instance: str = INSTANCE,
    ) -> None:
        self.breaker = breaker
        self.clock = clock
        self.hub = Hub()
        self.progress = MemoryProgressStore()
        self.gaps = MemoryGapStore(self.now_ms)
        self.changes = MemoryHubChanges(self.now_ms)
        self.parking = MemoryParkingStore(self.progress, clock=clock.monotonic)
        self.fleet = fleet or AwayFleet(clock.monotonic)
        self.heartbeat = MemoryHeartbeat(clock.monotonic)
        self.timer_runs = True
        self.checkpoints: dict[str, int] | None = {}
        self.results = Results("my:handle")
        self.warnings: list[str] = []
        self.old: set[str] = set()
        self.last_success: float | None = None
        self.dependencies: dict[str, CircuitBreaker] = {}
        held = held_by(breaker)
        self.watch = Watch(60.0, handler_seconds=60.0, held=held, clock=clock.monotonic)
        client = cast("EventHubConsumerClient", self.hub)
        self.created = HubCreated(HubPositions(client).created_ms, clock=clock.monotonic)
        self.survey = Survey(
            LagReader(
                client,
                self.progress,
                IDENTITY,
                self.parking,
                gaps=self.gaps,
                checkpoint=self.checkpoint,
                created=self.created,
            ),
            self.fleet,
            self.parking,
            IDENTITY,
            stall_seconds=60.0,
            held=held,
            circuit=self.circuit,
            dependencies=lambda: self.dependencies,
            checkpoint=self.checkpoint,
            from_start=from_start,
            replays=self.heartbeat.age,
            created=self.created,
            changes=self.changes,
            now_ms=self.now_ms,
        )
        self.watching = Watching(
            self.watch,
            self.fleet,
            self.survey,
            instance,
            created=self.created,
            clock=clock.monotonic,
        )
        self.redrives = RedriveRuns(MemoryRunStore())
        self.health = Health(
            breaker,
            self.survey,
            self.watch,
            self.old_version_on,
            self.results,
            dependencies=lambda: self.dependencies,
            warnings=self.warnings,
            instance=instance,
            redrives=self.redrives.lines,
        )
        self.table = Partitions(
            self.survey,
            cast("HostCheckpoints", NoCheckpoints()),
            queues=(),
            own=IDENTITY,
            lease_seconds=60,
        )
        self.reader = InMemoryMetricReader()
        create_gauges(self.watching, MeterProvider([self.reader]).get_meter("t"))

    def now_ms(self) -> int:
        """Return the test's time, milliseconds since 1970."""
        return int(self.clock.monotonic() * 1000)

    def circuit(self) -> Circuit:
        """Return the circuit with the test's time and last success."""
        now = self.clock.monotonic()
        return replace(self.breaker.circuit, as_of=now, last_success_at=self.last_success)

    async def checkpoint(self, partition: str) -> Checkpoint | None:
        """Return the checkpoint that the test set."""
        if self.checkpoints is None:
            raise StorageUnavailableError("the container cannot be read")
        number = self.checkpoints.get(partition)
        return None if number is None else Checkpoint(number, "")

    async def old_version_on(self, partitions: Iterable[str]) -> list[str]:
        return [each for each in partitions if each in self.old]

    async def after(self, seconds: int) -> HealthReport:
        """Return the health after some time, in which the background work runs."""
        await self.work()
        for second in range(1, seconds + 1):
            self.clock.advance(1)
            await self.watching.judge()
            if second % REPORT_SECONDS == 0:
                await self.work()
        return await self.health.report()

    async def work(self) -> None:
        """Do the background work once; a store that is away ends the round."""
        if self.timer_runs:
            await self.heartbeat.beat()
        watching = self.watching
        for work in (watching.judge, watching.report, watching.survey, watching.read_created):
            try:
                await work()
            except StorageUnavailableError:
                continue

    def gauge(self, name: str) -> dict[tuple[str, ...], float]:
        """Return the values of a gauge by its attributes, partition first."""
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        return {
            tuple(str(point.attributes[each]) for each in sorted(point.attributes)): point.value
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in cast("Any", metric.data.data_points)
        }
