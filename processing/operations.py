"""Operations of the CLI and the console, built from the app settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from azure.eventhub.aio import EventHubConsumerClient

from breaker.stores.redis import log_in
from processing.circuit_wiring import instance_name, without_judging
from processing.migration.migration import Migration
from processing.parking.mark_blobs import MarkBlobs
from processing.parking.store import ParkingStore
from processing.partitions.overview import Partitions
from processing.partitions.positions import HubPositions
from processing.partitions.rewind import Rewind
from processing.poison.claim_checks import ClaimChecks
from processing.poison.queue import PoisonReader
from processing.redrive.discard import Discard
from processing.redrive.redrive import Redrive
from processing.wiring import Wiring


@dataclass(frozen=True, slots=True)
class PoisonStorage:
    """A reader of the poison queue, and the claim checks of its messages."""

    reader: PoisonReader
    claims: ClaimChecks


@asynccontextmanager
async def open_poison(settings: Mapping[str, str]) -> AsyncIterator[PoisonStorage]:
    """Open the poison queue that the settings name.

    Raises:
        SettingsError: a setting is missing, unknown or out of bounds.
    """
    async with AsyncExitStack() as opened:
        wiring = Wiring(settings, opened)
        yield PoisonStorage(await wiring.poison_reader(), await wiring.claims())


@asynccontextmanager
async def open_parking(settings: Mapping[str, str]) -> AsyncIterator[ParkingStore]:
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
        yield wiring.parking_store(query_timeout_seconds=seconds)


@asynccontextmanager
async def open_redrive(
    settings: Mapping[str, str], *, discard: Discard | None = None
) -> AsyncIterator[Redrive]:
    """Open a redrive with the handler, the retry policy and the circuit of the settings.

    With `discard` the redrive writes a record of that event instead of handling the event.

    Raises:
        SettingsError, breaker.SettingsError: a setting is missing, unknown or out of bounds.
        HandlerLoadError: EVENT_HANDLER does not name a handler.
    """
    async with AsyncExitStack() as opened:
        wiring = Wiring(settings, opened, breaking=without_judging(settings))
        handler = wiring.handler()
        breaker = await wiring.breaker()
        await wiring.migration().ensure()
        yield Redrive(
            reader=await wiring.poison_reader(),
            poison=await wiring.poison(),
            parking=await wiring.parking(),
            handler=handler,
            retry=wiring.retry(),
            admits=lambda: breaker.circuit.admits,
            instance=instance_name(),
            discard=discard,
        )


@asynccontextmanager
async def open_rewind(settings: Mapping[str, str]) -> AsyncIterator[Rewind]:
    """Open a rewind of the hub and the consumer group that the settings name.

    Raises:
        SettingsError, breaker.SettingsError: a setting is missing, unknown or out of bounds.
    """
    async with AsyncExitStack() as opened:
        wiring = Wiring(settings, opened)
        await wiring.migration().ensure()
        yield Rewind(
            checkpoints=await wiring.checkpoints(),
            positions=HubPositions(await wiring.hub()),
            progress=wiring.progress(),
            parking=wiring.parking_store(),
            marks=MarkBlobs(await wiring.container(wiring.connections.poison_queue)),
            identity=wiring.connections.identity,
        )


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
    settings: Mapping[str, str], *, lease_seconds: float
) -> AsyncIterator[Partitions]:
    """Open the table of the hub's partitions; an ownership expires after `lease_seconds`.

    Raises:
        SettingsError, breaker.SettingsError: a setting is missing, unknown or out of bounds.
    """
    async with AsyncExitStack() as opened:
        yield await Wiring(settings, opened).partitions(lease_seconds=lease_seconds)


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
