"""What operators do, put together from the app settings; the console uses it as the CLI does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from azure.eventhub.aio import EventHubConsumerClient

from breaker import BreakerSettings
from breaker.stores.redis import connect, log_in
from processing.handlers.retry import RetryPolicy
from processing.parking.batch import Parking
from processing.parking.store import ParkingStore
from processing.partitions.checkpoints import CONTAINER, HostCheckpoints
from processing.partitions.lag import LagReader
from processing.partitions.overview import Partitions
from processing.partitions.positions import HubPositions
from processing.partitions.rewind import Rewind
from processing.poison.claim_checks import ClaimChecks
from processing.poison.queue import PoisonReader
from processing.poison.storage_queue import StoragePoisonQueue, StoragePoisonReader
from processing.progress.redis import RedisProgressStore
from processing.redrive.discard import Discard
from processing.redrive.redrive import Redrive
from processing.settings import ConnectionSettings, ProcessingSettings
from processing.wiring import (
    Wiring,
    hub_client,
    instance_name,
    open_container,
    open_credential,
    open_poison_storage,
)


@dataclass(frozen=True, slots=True)
class PoisonStorage:
    """The poison queue to be read, and its claim checks."""

    reader: PoisonReader
    claims: ClaimChecks


@asynccontextmanager
async def open_poison(settings: Mapping[str, str]) -> AsyncIterator[PoisonStorage]:
    """The poison queue that the settings name.

    Raises:
        SettingsError: a setting is missing, unknown or out of bounds.
    """
    async with AsyncExitStack() as opened:
        queue, claims = await Wiring(settings, opened).poison()
        yield PoisonStorage(StoragePoisonReader(queue), claims)


@asynccontextmanager
async def open_parking(settings: Mapping[str, str]) -> AsyncIterator[ParkingStore]:
    """The parked lists that the settings name, to be looked at.

    Raises:
        SettingsError, breaker.SettingsError: a setting is missing, unknown or out of bounds.
        StoreUnavailableError: there is no token that Redis would take.
    """
    async with AsyncExitStack() as opened:
        wiring = Wiring(settings, opened)
        await log_in(wiring.redis)
        # Somebody waits for the answer, which is worth nothing after the client's fourth try.
        yield wiring.parking(look_seconds=wiring.breaking.store_timeout_seconds)


@asynccontextmanager
async def open_redrive(
    settings: Mapping[str, str], *, discard: Discard | None = None
) -> AsyncIterator[Redrive]:
    """Redrive, with the handler, the retry policy and the circuit that the settings name.

    With `discard` that event is put on record instead of being handled.

    Raises:
        SettingsError, breaker.SettingsError: a setting is missing, unknown or out of bounds.
        HandlerLoadError: EVENT_HANDLER names nothing that can handle events.
    """
    async with AsyncExitStack() as opened:
        wiring = Wiring(settings, opened)
        processing = wiring.processing
        handler = wiring.handler()
        breaker = await wiring.breaker()
        queue, claims = await wiring.poison()
        yield Redrive(
            reader=StoragePoisonReader(queue),
            poison=StoragePoisonQueue(queue, claims),
            parking=Parking(wiring.parking(), claims),
            handler=handler,
            retry=RetryPolicy(
                max_attempts=processing.max_attempts,
                initial_seconds=processing.retry_initial_seconds,
                max_seconds=processing.retry_max_seconds,
                dependency_errors=processing.dependency_errors,
            ),
            admits=lambda: breaker.circuit.admits,
            instance=instance_name(),
            discard=discard,
        )


@asynccontextmanager
async def open_rewind(settings: Mapping[str, str]) -> AsyncIterator[Rewind]:
    """Rewind, for the hub and the consumer group that the settings name.

    Raises:
        SettingsError, breaker.SettingsError: a setting is missing, unknown or out of bounds.
    """
    async with AsyncExitStack() as opened:
        wiring = Wiring(settings, opened)
        yield Rewind(
            checkpoints=await wiring.checkpoints(),
            positions=HubPositions(await wiring.hub()),
            progress=wiring.progress(),
            parking=wiring.parking(),
            hub=wiring.connections.event_hub_name,
            group=wiring.connections.event_hub_consumer_group,
        )


@asynccontextmanager
async def open_partitions(
    settings: Mapping[str, str], *, lease_seconds: float
) -> AsyncIterator[Partitions]:
    """What the function app's settings name.

    Raises:
        SettingsError, breaker.SettingsError: a setting is missing, unknown or out of bounds.
    """
    connections = ConnectionSettings.from_mapping(settings)
    processing = ProcessingSettings.from_mapping(settings)
    async with AsyncExitStack() as opened:
        credential = await open_credential(connections, opened)
        redis = connect(connections.redis_url, BreakerSettings.from_mapping(settings))
        opened.push_async_callback(redis.aclose)
        hub = await opened.enter_async_context(hub_client(connections, credential))
        container = await open_container(connections, credential, opened, CONTAINER)
        queue, _ = await open_poison_storage(connections, credential, opened)
        name, group = connections.event_hub_name, connections.event_hub_consumer_group
        progress = RedisProgressStore(
            redis,
            ttl_seconds=processing.progress_ttl_seconds,
            namespace=connections.namespace,
        )
        yield Partitions(
            LagReader(hub, progress, hub=name, group=group),
            HostCheckpoints(container, namespace=connections.namespace, hub=name, group=group),
            queue,
            lease_seconds,
        )


@asynccontextmanager
async def open_hub(
    settings: Mapping[str, str], *, group: str
) -> AsyncIterator[EventHubConsumerClient]:
    """The hub, as a consumer group of the console's own reads it.

    Raises:
        SettingsError: a setting is missing, unknown or out of bounds.
    """
    connections = replace(ConnectionSettings.from_mapping(settings), event_hub_consumer_group=group)
    async with AsyncExitStack() as opened:
        credential = await open_credential(connections, opened)
        yield await opened.enter_async_context(hub_client(connections, credential))
