"""What operators do, put together from the app settings; the console uses it as the CLI does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from breaker.stores.redis import log_in
from processing.partitions.positions import HubPositions
from processing.poison.storage_queue import StoragePoisonQueue
from processing.adapters.storage_queue_reader import StoragePoisonReader
from processing.redrive.discard import Discard
from processing.parking.batch import Parking
from processing.parking.store import ParkingStore
from processing.poison.message import ClaimChecks
from processing.poison.queue import PoisonReader
from processing.redrive.redrive import Redrive
from processing.handlers.retry import RetryPolicy
from processing.partitions.rewind import Rewind
from processing.wiring import Wiring, instance_name


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
