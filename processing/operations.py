"""Operations of the CLI and the console, built from the app settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from azure.eventhub.aio import EventHubConsumerClient

from breaker import CircuitBreaker, StoreUnavailableError
from breaker.stores.redis import FAILURES, Client, explained, log_in
from processing.circuit_wiring import instance_name, without_judging
from processing.errors import StorageUnavailableError
from processing.formats.keys import parked_partitions_key
from processing.identity import Identity
from processing.migration.migration import Migration
from processing.monitoring.overview import Partitions
from processing.parking.marks import MarkStore
from processing.parking.store import ParkingStore
from processing.partitions.hub_changes import HubChanges, MemoryHubChanges, latest_growth
from processing.partitions.lag import LagReader
from processing.partitions.moved_keys import MovedKeys, find_moved
from processing.partitions.positions import HubPositions
from processing.partitions.rewind import Rewind
from processing.partitions.rewind_stores import RewindStores
from processing.poison.claim_checks import ClaimChecks
from processing.poison.comparison import Comparison
from processing.poison.discard_records import DiscardRecords
from processing.poison.index.index import PoisonIndex
from processing.poison.queue import PoisonReader
from processing.redrive.discard import Discard
from processing.redrive.poison_head import PoisonHead
from processing.redrive.redrive import Redrive
from processing.redrive.run_store import MemoryRunStore
from processing.redrive.runs import RedriveRuns
from processing.wiring import Wiring


@dataclass(frozen=True, slots=True)
class PoisonStorage:
    """A reader of the poison queue, the claim checks of its messages, and its index.

    Attributes:
        own: the app; the queue may also have messages of other apps.
        comparison: compares the index with the queue if that is due.
        runs: the running redrives.
    """

    reader: PoisonReader
    claims: ClaimChecks
    own: Identity
    index: PoisonIndex
    comparison: Comparison
    runs: RedriveRuns = field(default_factory=lambda: RedriveRuns(MemoryRunStore()))


@asynccontextmanager
async def open_poison(settings: Mapping[str, str]) -> AsyncIterator[PoisonStorage]:
    """Open the poison queue that the settings name.

    Raises:
        SettingsError: a setting is missing, unknown or out of bounds.
    """
    async with AsyncExitStack() as opened:
        wiring = Wiring(settings, opened)
        with suppress(StoreUnavailableError):  # the queue can be read without its index
            await log_in(wiring.redis)
        yield PoisonStorage(
            await wiring.poison_reader(),
            await wiring.claims(),
            wiring.connections.identity,
            wiring.poison_index(),
            await wiring.comparison(),
            wiring.redrive_runs(),
        )


@dataclass(frozen=True, slots=True)
class ParkedLists:
    """The parked lists, and the clock of their store.

    Attributes:
        store: stores the lists.
        now: returns the store's time, seconds since 1970.
        changes: stores the hub's changes.
        runs: the running redrives of the app.
    """

    store: ParkingStore
    now: Callable[[], Awaitable[float]]
    changes: HubChanges = field(default_factory=MemoryHubChanges)
    runs: RedriveRuns = field(default_factory=lambda: RedriveRuns(MemoryRunStore()))

    async def moved(self) -> MovedKeys | None:
        """Return the keys that wait since before the latest growth of the hub.

        None: the number of partitions has not changed lately, as far as an instance has noticed.

        Raises:
            StorageUnavailableError: the store did not answer.
        """
        change = latest_growth(await self.changes.known(), round(await self.now() * 1000))
        return None if change is None else await find_moved(self.store, change)


@asynccontextmanager
async def open_parking(settings: Mapping[str, str]) -> AsyncIterator[ParkedLists]:
    """Open the parked lists that the settings name, to list them.

    Raises:
        SettingsError, breaker.SettingsError: a setting is missing, unknown or out of bounds.
        StoreUnavailableError: no access token for Redis could be fetched.
    """
    async with AsyncExitStack() as opened:
        wiring = Wiring(settings, opened)
        await log_in(wiring.redis)
        # An operator waits for the answer: time out before the client has made all its retries.
        seconds = wiring.breaking.store_timeout_seconds
        await wiring.migration().ensure(timeout_seconds=seconds)
        identity = wiring.connections.identity
        clock = partial(_redis_time, wiring.redis, parked_partitions_key(identity))
        store = wiring.parking_store(query_timeout_seconds=seconds)
        yield ParkedLists(store, clock, wiring.hub_changes(), wiring.redrive_runs())


@asynccontextmanager
async def open_poison_head(settings: Mapping[str, str]) -> AsyncIterator[PoisonHead]:
    """Open the first unfinished event of each partition, for a decision to poison it.

    Raises:
        SettingsError, breaker.SettingsError: a setting is missing, unknown or out of bounds.
    """
    async with _migrated(settings) as wiring:
        yield PoisonHead(
            positions=HubPositions(await wiring.hub()),
            checkpoint=(await wiring.checkpoints()).read,
            progress=wiring.progress(),
            parking=wiring.parking_store(),
            reports=wiring.fleet().reports,
            identity=wiring.connections.identity,
        )


@asynccontextmanager
async def open_redrive(
    settings: Mapping[str, str], *, discard: Discard | None = None
) -> AsyncIterator[Redrive]:
    """Open a redrive with the handler, the retry policy and the circuit of the settings.

    With `discard` the redrive writes a record of that event instead of handling the event. Then the
    handler starts only if another event follows.

    Raises:
        SettingsError, breaker.SettingsError: a setting is missing, unknown or out of bounds.
        HandlerLoadError: EVENT_HANDLER does not name a handler, or the handler did not start.
    """
    async with AsyncExitStack() as opened:
        wiring = Wiring(settings, opened, breaking=without_judging(settings))
        handler = wiring.handler()
        call_seconds = wiring.processing.handler_timeout_seconds
        breaker = await wiring.breaker()
        await wiring.migration().ensure()
        if discard is None:
            await handler.start()
        yield Redrive(
            own=wiring.connections.identity,
            reader=await wiring.poison_reader(),
            poison=await wiring.poison(),
            parking=await wiring.parking(),
            handler=handler,
            retry=wiring.retry(),
            admits=lambda: breaker.circuit.admits,
            instance=instance_name(),
            # As in a replay of the app, so that no other holder starts an event during a call.
            lease_seconds=wiring.processing.lease_seconds,
            call_seconds=call_seconds,
            discard=discard,
            parks=wiring.processing.poison_ordering == "park",
            dependencies=await wiring.dependencies(),
            index=wiring.poison_index(),
            compare=(await wiring.comparison()).ensure,
            runs=wiring.redrive_runs(),
        )


@dataclass(frozen=True, slots=True)
class AppMarks:
    """The marks of an app's partitions, and the parked lists that the marks stand for."""

    marks: MarkStore
    parking: ParkingStore
    identity: Identity


@asynccontextmanager
async def open_marks(settings: Mapping[str, str]) -> AsyncIterator[AppMarks]:
    """Open the marks outside Redis of the parked events that only Redis has.

    Raises:
        SettingsError, breaker.SettingsError: a setting is missing, unknown or out of bounds.
    """
    async with _migrated(settings) as wiring:
        yield AppMarks(await wiring.marks(), wiring.parking_store(), wiring.connections.identity)


@asynccontextmanager
async def open_rewind(settings: Mapping[str, str]) -> AsyncIterator[Rewind]:
    """Open a rewind of the hub and the consumer group that the settings name.

    Raises:
        SettingsError, breaker.SettingsError: a setting is missing, unknown or out of bounds.
    """
    async with _migrated(settings) as wiring:
        yield Rewind(
            RewindStores(
                checkpoints=await wiring.checkpoints(),
                positions=HubPositions(await wiring.hub()),
                progress=wiring.progress(),
                parking=wiring.parking_store(),
                marks=await wiring.marks(),
                discards=DiscardRecords(await wiring.claims()),
                identity=wiring.connections.identity,
                changes=wiring.hub_changes(),
            )
        )


@dataclass(frozen=True, slots=True)
class HubLag:
    """A reader of the lag of a hub's partitions.

    Attributes:
        reader: reads the lag.
        hub: the hub's name.
    """

    reader: LagReader
    hub: str


@asynccontextmanager
async def open_lag(settings: Mapping[str, str]) -> AsyncIterator[HubLag]:
    """Open the lag of the hub and the consumer group that the settings name.

    Raises:
        SettingsError, breaker.SettingsError: a setting is missing, unknown or out of bounds.
    """
    async with _migrated(settings) as wiring:
        yield HubLag(await wiring.lag(), wiring.connections.identity.hub)


@asynccontextmanager
async def open_migration(settings: Mapping[str, str]) -> AsyncIterator[Migration]:
    """Open the migration of the data that version 0.1 wrote.

    Raises:
        SettingsError, breaker.SettingsError: a setting is missing, unknown or out of bounds.
        StoreUnavailableError: no access token for Redis could be fetched.
    """
    async with AsyncExitStack() as opened:
        wiring = Wiring(settings, opened)
        await log_in(wiring.redis)
        yield wiring.migration()


@asynccontextmanager
async def open_partitions(
    settings: Mapping[str, str],
    *,
    breaker: CircuitBreaker,
    dependencies: Callable[[], Mapping[str, CircuitBreaker]] = dict,
    lease_seconds: float,
) -> AsyncIterator[Partitions]:
    """Open the table of the hub's partitions.

    Partitions that the app's circuit or a dependency's holds are not shown as stalled.

    Args:
        settings: the app settings.
        breaker: the app's circuit.
        dependencies: returns the circuits of the app's dependencies, by name.
        lease_seconds: time after which an ownership expires.

    Raises:
        SettingsError, breaker.SettingsError: a setting is missing, unknown or out of bounds.
    """
    async with AsyncExitStack() as opened:
        wiring = Wiring(settings, opened)
        yield await wiring.partitions(
            breaker=breaker, dependencies=dependencies, lease_seconds=lease_seconds
        )


@asynccontextmanager
async def open_hub(
    settings: Mapping[str, str], *, group: str
) -> AsyncIterator[EventHubConsumerClient]:
    """Open the hub's client for a consumer group other than the app's.

    Raises:
        SettingsError: a setting is missing, unknown or out of bounds.
    """
    async with AsyncExitStack() as opened:
        yield await Wiring(settings, opened).hub(group=group)


@asynccontextmanager
async def _migrated(settings: Mapping[str, str]) -> AsyncIterator[Wiring]:
    """Yield the wiring of an app whose data of version 0.1 is migrated."""
    async with AsyncExitStack() as opened:
        wiring = Wiring(settings, opened)
        await wiring.migration().ensure()
        yield wiring


async def _redis_time(client: Client, key: str) -> float:
    """Return the time of the server that stores `key`; a cluster has one clock per server."""
    try:
        seconds, microseconds = await client.eval("return redis.call('TIME')", 1, key)
    except FAILURES as error:
        raise StorageUnavailableError(f"redis: {explained(error)}") from error
    return int(seconds) + int(microseconds) / 1e6
