"""What operators do, put together from the app settings; the console uses it as the CLI does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from breaker import BreakerSettings, CircuitBreaker, RedisCircuitStore
from breaker.stores.redis import connect
from processing.adapters.blob import ClaimCheckBlobs
from processing.adapters.checkpoint import CONTAINER, HostCheckpoints
from processing.adapters.hub_positions import HubPositions
from processing.adapters.redis import RedisProgressStore
from processing.adapters.storage_queue import StoragePoisonQueue
from processing.adapters.storage_queue_reader import StoragePoisonReader
from processing.bootstrap import instance_name
from processing.clients import (
    hub_client,
    open_container,
    open_credential,
    open_poison_storage,
    parking_store,
)
from processing.discard import Discard
from processing.handler import LoadedHandler, load_handler
from processing.parker import Parking
from processing.parking import ParkingStore
from processing.poison import ClaimChecks
from processing.poison_reader import PoisonReader
from processing.redrive import Redrive
from processing.retry import RetryPolicy
from processing.rewind import Rewind
from processing.settings import ConnectionSettings, ProcessingSettings


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
    connections = ConnectionSettings.from_mapping(settings)
    async with AsyncExitStack() as opened:
        credential = await open_credential(connections, opened)
        queue, container = await open_poison_storage(connections, credential, opened)
        yield PoisonStorage(StoragePoisonReader(queue), ClaimCheckBlobs(container))


@asynccontextmanager
async def open_parking(settings: Mapping[str, str]) -> AsyncIterator[ParkingStore]:
    """The parked lists that the settings name.

    Raises:
        SettingsError, breaker.SettingsError: a setting is missing, unknown or out of bounds.
    """
    connections = ConnectionSettings.from_mapping(settings)
    redis = connect(connections.redis_url, BreakerSettings.from_mapping(settings))
    try:
        yield parking_store(redis, ProcessingSettings.from_mapping(settings), connections.namespace)
    finally:
        await redis.aclose()


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
    connections = ConnectionSettings.from_mapping(settings)
    processing = ProcessingSettings.from_mapping(settings)
    breaking = BreakerSettings.from_mapping(settings)
    async with AsyncExitStack() as opened:
        handler = load_handler(
            connections.event_handler,
            settings,
            threads=processing.max_lanes,
            timeout_seconds=processing.handler_timeout_seconds,
        )
        opened.push_async_callback(handler.aclose)
        credential = await open_credential(connections, opened)
        redis = connect(connections.redis_url, breaking)
        opened.push_async_callback(redis.aclose)
        breaker = CircuitBreaker(
            RedisCircuitStore(redis, breaking.name), breaking, instance=instance_name()
        )
        await opened.enter_async_context(breaker)
        queue, container = await open_poison_storage(connections, credential, opened)
        claims = ClaimCheckBlobs(container)
        if discard is not None:
            handler = LoadedHandler(handler.name, discard.around(handler.handle, claims))
        yield Redrive(
            reader=StoragePoisonReader(queue),
            poison=StoragePoisonQueue(queue, claims),
            parking=Parking(parking_store(redis, processing, connections.namespace), claims),
            handler=handler,
            retry=RetryPolicy(
                max_attempts=processing.max_attempts,
                initial_seconds=processing.retry_initial_seconds,
                max_seconds=processing.retry_max_seconds,
                dependency_errors=processing.dependency_errors,
            ),
            admits=lambda: breaker.circuit.admits,
            instance=instance_name(),
        )


@asynccontextmanager
async def open_rewind(settings: Mapping[str, str]) -> AsyncIterator[Rewind]:
    """Rewind, for the hub and the consumer group that the settings name.

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
        yield Rewind(
            checkpoints=HostCheckpoints(
                container,
                namespace=connections.namespace,
                hub=connections.event_hub_name,
                group=connections.event_hub_consumer_group,
            ),
            positions=HubPositions(hub),
            progress=RedisProgressStore(
                redis,
                ttl_seconds=processing.progress_ttl_seconds,
                namespace=connections.namespace,
            ),
            parking=parking_store(redis, processing, connections.namespace),
            hub=connections.event_hub_name,
            group=connections.event_hub_consumer_group,
        )
