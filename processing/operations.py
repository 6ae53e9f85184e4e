"""What operators do, put together from the app settings; the console uses it as the CLI does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from azure.eventhub.aio import EventHubConsumerClient

from breaker.stores.redis import log_in
from processing.circuit_wiring import instance_name
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
        wiring = Wiring(settings, opened)
        yield PoisonStorage(await wiring.poison_reader(), await wiring.claims())


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
        yield wiring.parking_store(look_seconds=wiring.breaking.store_timeout_seconds)


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
        handler = wiring.handler()
        breaker = await wiring.breaker()
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
            parking=wiring.parking_store(),
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
    async with AsyncExitStack() as opened:
        yield await Wiring(settings, opened).partitions(lease_seconds=lease_seconds)


@asynccontextmanager
async def open_hub(
    settings: Mapping[str, str], *, group: str
) -> AsyncIterator[EventHubConsumerClient]:
    """The hub, as a consumer group of the console's own reads it.

    Raises:
        SettingsError: a setting is missing, unknown or out of bounds.
    """
    async with AsyncExitStack() as opened:
        yield await Wiring(settings, opened).hub(group=group)
