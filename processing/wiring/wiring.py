"""Every store and every other part of the app, built from the app settings.

The app, the operator's tools, the console and the benchmarks all use these parts, so that a setting
has the same meaning in each of them.
"""

from __future__ import annotations

from collections.abc import Callable

from breaker import CircuitBreaker
from breaker.configuration.pipelines import check_has_handler
from processing.batch.hub_ends import HubEnds
from processing.circuit_wiring import instance_name
from processing.crashes.careful import CarefulMode
from processing.crashes.loops import CrashLoops
from processing.crashes.redis import RedisCrashStore
from processing.deferring.admission import MOST_REPLAYS
from processing.deferring.heartbeat_redis import RedisHeartbeat
from processing.handlers.loading import LoadedHandler, load_handler
from processing.handlers.retry import RetryPolicy
from processing.identity import Source
from processing.migration.migration import Migration
from processing.migration.pipeline_names import PipelineNames
from processing.monitoring.dependency_states import Circuits
from processing.monitoring.host_options import reads_from_start
from processing.monitoring.overview import Partitions
from processing.monitoring.redis_fleet import RedisFleetStates
from processing.monitoring.stall import held_by
from processing.monitoring.survey import Survey
from processing.parking.batch import Parking
from processing.parking.mark_blobs import MarkBlobs
from processing.parking.marks import MarkStore
from processing.parking.memory_guard import MemoryGuard
from processing.parking.partition_marks import PartitionMarks
from processing.parking.redis import RedisParkingStore
from processing.parking.two_accounts import MarksOfTwo
from processing.partitions.checkpoints import CONTAINER, HostCheckpoints
from processing.partitions.hub_answers import HubAnswers
from processing.partitions.hub_created import HubCreated
from processing.partitions.lag import LagReader
from processing.partitions.positions import HubPositions
from processing.partitions.redis_gaps import RedisGapStore
from processing.partitions.redis_hub_changes import RedisHubChanges
from processing.poison.claim_check_blobs import ClaimCheckBlobs
from processing.poison.claim_checks import ClaimChecks
from processing.poison.comparison import Comparison
from processing.poison.index.notes import IndexNotes
from processing.poison.index.redis import RedisPoisonIndex
from processing.poison.queue import HOST, PoisonReader
from processing.poison.storage_queue import StoragePoisonQueue, StoragePoisonReader
from processing.poison.two_accounts import ClaimChecksOfTwo, PoisonReaderOfTwo
from processing.progress.redis import RedisProgressStore
from processing.redrive.redis_run_store import RedisRunStore
from processing.redrive.runs import RedriveRuns
from processing.wiring.clients import ClientWiring


class Wiring(ClientWiring):
    """A builder of the app's parts, from the clients that it builds; see `ClientWiring`."""

    _hub_created: HubCreated | None = None

    def handler(
        self,
        late: Callable[[], None] = lambda: None,
        faulty: Callable[[], None] = lambda: None,
    ) -> LoadedHandler:
        """Load the handler; see `LoadedHandler` for `late` and `faulty`.

        Raises:
            HandlerLoadError: EVENT_HANDLER does not name a handler.
            PipelineError: a declared pipeline has no handler.
        """
        check_has_handler(self._settings)
        handler = load_handler(
            self.connections.event_handler,
            self._settings,
            # No batch waits for a thread that a replay uses.
            threads=self.processing.max_lanes + min(MOST_REPLAYS, self.processing.max_lanes),
            timeout_seconds=self.processing.handler_timeout_seconds,
            late=late,
            faulty=faulty,
        )
        self._opened.push_async_callback(handler.aclose)
        return handler

    def retry(self) -> RetryPolicy:
        """Return the retry policy of a redrive; a shutdown does not interrupt its pauses."""
        return RetryPolicy.from_settings(self.processing)

    def progress(self) -> RedisProgressStore:
        """Return the store of finished events."""
        return RedisProgressStore(self.redis, ttl_seconds=self.processing.progress_ttl_seconds)

    def parking_store(self, *, query_timeout_seconds: float | None = None) -> RedisParkingStore:
        """Return the store of parked events.

        Each read-only query of listings times out after `query_timeout_seconds`. None: a query ends
        when the client has made all its retries.
        """
        return RedisParkingStore(
            self.redis,
            most=self.processing.parked_events_max,
            most_events=self.processing.deferred_events_max,
            most_bytes=self.processing.parked_megabytes_max * 2**20,
            replicas=self.processing.parking_replicas,
            ttl_seconds=self.processing.progress_ttl_seconds,
            identity=self.connections.identity,
            query_timeout_seconds=query_timeout_seconds,
        )

    def migration(self) -> Migration:
        """Return the migration of the data that version 0.1 wrote."""
        connections = self.connections
        return Migration(
            self.redis,
            self.progress(),
            connections.identity,
            namespace=connections.namespace,
            hub=connections.event_hub_name,
            consumer_group=connections.event_hub_consumer_group,
            ttl_seconds=self.processing.progress_ttl_seconds,
        )

    async def pipeline_names(self) -> PipelineNames:
        """Return the check for data that a pipeline of another name has left."""
        return PipelineNames(
            self.redis,
            self.connections.identity,
            progress=self.progress(),
            partitions=HubPositions(await self.hub()).partitions,
            checkpoint=(await self.checkpoints()).read,
        )

    async def parking(self) -> Parking:
        """Return the parked lists together with the claim checks of large events."""
        store = self.parking_store()
        return Parking(store, await self.claims(), PartitionMarks(await self.marks(), store))

    async def marks(self) -> MarkStore:
        """Return the marks outside Redis of the parked events that only Redis has."""
        app, *host = [MarkBlobs(each) for each in await self._containers()]
        return MarksOfTwo(app, *host) if host else app

    async def poison(self) -> StoragePoisonQueue:
        """Return the poison queue to write to."""
        notes = IndexNotes(self.poison_index())
        return StoragePoisonQueue(await self.queue(), await self.claims(), notes)

    def redrive_runs(self) -> RedriveRuns:
        """Return the running redrives of the app."""
        identity, seconds = self.connections.identity, self.breaking.store_timeout_seconds
        return RedriveRuns(RedisRunStore(self.redis, identity, timeout_seconds=seconds))

    async def poison_reader(self) -> PoisonReader:
        """Return the poison queue to read from."""
        app, *host = (await self._poison_readers()).values()
        return PoisonReaderOfTwo(app, *host) if host else app

    async def _poison_readers(self) -> dict[str, PoisonReader]:
        """Return a reader of the queue of each account; see `IndexEntry.where`."""
        namespace = self.connections.identity.namespace
        readers = [StoragePoisonReader(each, namespace=namespace) for each in await self._queues()]
        return dict(zip(("", HOST), readers, strict=False))

    async def comparison(self) -> Comparison:
        """Return the comparison of the index with the poison queue."""
        return Comparison(self.poison_index(), self._poison_readers, self.connections.identity)

    def poison_index(self) -> RedisPoisonIndex:
        """Return the index of the poison queue."""
        guard = MemoryGuard(self.redis)

        async def has_room() -> bool:
            return not await guard.is_full()

        return RedisPoisonIndex(
            self.redis,
            self.connections.identity,
            budget_bytes=self.processing.poison_index_megabytes_max * 2**20,
            has_room=has_room,
            ttl_seconds=self.processing.progress_ttl_seconds,
            timeout_seconds=self.breaking.store_timeout_seconds,
        )

    async def claims(self) -> ClaimChecks:
        """Return the claim checks of poison messages and parked events."""
        app, *host = [ClaimCheckBlobs(each) for each in await self._containers()]
        return ClaimChecksOfTwo(app, *host) if host else app

    async def checkpoints(self) -> HostCheckpoints:
        """Return the host's checkpoints of the hub."""
        connections = self.connections
        return HostCheckpoints(
            await self._storage.container(connections.host_storage, CONTAINER),
            namespace=connections.namespace,
            hub=connections.event_hub_name,
            group=connections.event_hub_consumer_group,
        )

    def gaps(self) -> RedisGapStore:
        """Return the store of the expired events that batches have noticed."""
        return RedisGapStore(self.redis, ttl_seconds=self.processing.progress_ttl_seconds)

    def hub_changes(self) -> RedisHubChanges:
        """Return the store of the hub's changes."""
        ttl_seconds = self.processing.progress_ttl_seconds
        return RedisHubChanges(self.redis, self.connections.identity, ttl_seconds=ttl_seconds)

    async def hub_created(self) -> HubCreated:
        """Return the hub's time of creation, which all parts of the instance share."""
        if self._hub_created is None:
            self._hub_created = HubCreated(HubPositions(await self.hub()).created_ms)
        return self._hub_created

    async def lag(self) -> LagReader:
        """Return the lag of each partition, as the app's consumer group sees it."""
        seconds = self.breaking.store_timeout_seconds
        return LagReader(
            await self.hub(),
            self.progress(),
            self.connections.identity,
            self.parking_store(query_timeout_seconds=seconds),
            gaps=self.gaps(),
            checkpoint=(await self.checkpoints()).read,
            created=await self.hub_created(),
        )

    async def hub_ends(self, expired: Callable[[Source, int], None]) -> HubEnds:
        """Return the checks of batches against the hub's ends; the hub is asked at first use.

        Args:
            expired: called with a partition and the number of its events that have expired.
        """
        answers = HubAnswers(HubPositions(await self.hub()), await self.hub_created())
        self._opened.push_async_callback(answers.aclose)
        return HubEnds(
            answers,
            progress=self.progress(),
            gaps=self.gaps(),
            checkpoint=(await self.checkpoints()).read,
            expired=expired,
        )

    def crash_loops(
        self, breaker: CircuitBreaker, handler: LoadedHandler, careful: CarefulMode | None = None
    ) -> CrashLoops:
        """Return the crash loops as this instance sees them; see there for `careful`."""
        return CrashLoops(
            RedisCrashStore(self.redis, self.connections.identity),
            careful_after=self.processing.careful_after,
            hold_seconds=self.processing.hold_seconds,
            circuit=lambda: breaker.circuit,
            in_flight=lambda: handler.in_flight,
            careful=careful,
            instance=instance_name(),
        )

    def fleet(self) -> RedisFleetStates:
        """Return the states of the partitions that all instances report."""
        return RedisFleetStates(self.redis, self.connections.identity)

    async def survey(self, breaker: CircuitBreaker, dependencies: Circuits) -> Survey:
        """Return the survey of all partitions; the time in which a circuit holds is no stall."""
        return Survey(
            await self.lag(),
            self.fleet(),
            self.parking_store(query_timeout_seconds=self.breaking.store_timeout_seconds),
            self.connections.identity,
            stall_seconds=self.processing.stall_seconds,
            held=held_by(breaker),
            circuit=lambda: breaker.circuit,
            dependencies=dependencies,
            checkpoint=(await self.checkpoints()).read,
            from_start=reads_from_start(self._settings),
            replays=RedisHeartbeat(self.redis, self.connections.identity).age,
            created=await self.hub_created(),
            changes=self.hub_changes(),
        )

    async def partitions(
        self, *, breaker: CircuitBreaker, dependencies: Circuits, lease_seconds: float
    ) -> Partitions:
        """Return the table of partitions; an ownership lasts `lease_seconds`."""
        survey = await self.survey(breaker, dependencies)
        return Partitions(
            *(survey, await self.checkpoints(), await self._queues()),
            own=self.connections.identity,
            lease_seconds=lease_seconds,
        )
