"""An app and its operators, whose poison queue and claim checks are in memory or in Azurite."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from azure.storage.blob.aio import ContainerClient
from azure.storage.queue import TextBase64EncodePolicy
from azure.storage.queue.aio import QueueClient

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore
from processing.batch.processor import BatchProcessor
from processing.event import Event
from processing.handlers.loading import LoadedHandler
from processing.handlers.retry import RetryPolicy
from processing.parking.batch import Parking
from processing.parking.memory import MemoryParkingStore
from processing.poison.claim_check_blobs import ClaimCheckBlobs
from processing.poison.claim_checks import with_body
from processing.poison.memory import MemoryClaimChecks, MemoryPoisonQueue, MemoryPoisonReader
from processing.poison.message import PoisonMessage
from processing.poison.storage_queue import StoragePoisonQueue, StoragePoisonReader
from processing.progress.memory import MemoryProgressStore
from processing.redrive.discard import Discard
from processing.redrive.redrive import Redrive
from processing.redrive.selection import Selection
from processing.redrive.summary import RedriveSummary
from processing.settings import ProcessingSettings
from tests.support.processing.browsing import browse
from tests.support.processing.events import IDENTITY, batch
from tests.support.processing.parking_rig import FAST


class MemoryStorage:
    """A poison queue and its claim checks in memory."""

    def __init__(self) -> None:
        self.claims = MemoryClaimChecks()
        self.queue = MemoryPoisonQueue(self.claims)
        self.reader = MemoryPoisonReader(self.queue)

    async def blobs(self) -> Mapping[str, bytes]:
        """Return the content of each blob."""
        return dict(self.claims.blobs)

    async def write_blob(self, name: str, data: bytes) -> None:
        """Write a blob as another program does."""
        self.claims.blobs[name] = data

    async def delete_blob(self, name: str) -> None:
        """Delete a blob as another program does."""
        del self.claims.blobs[name]


class AzureStorage:
    """A poison queue and its claim checks in a storage account."""

    def __init__(self, queue: QueueClient, container: ContainerClient) -> None:
        self.client = queue
        self.container = container
        self.claims = ClaimCheckBlobs(container)
        self.queue = StoragePoisonQueue(queue, self.claims)
        self.reader = StoragePoisonReader(queue)

    async def blobs(self) -> Mapping[str, bytes]:
        """Return the content of each blob."""
        if not await self.container.exists():
            return {}
        names = [each.name async for each in self.container.list_blobs()]
        return {name: await (await self.container.download_blob(name)).readall() for name in names}

    async def write_blob(self, name: str, data: bytes) -> None:
        """Write a blob as another program does."""
        await self.container.upload_blob(name, data, overwrite=True)

    async def delete_blob(self, name: str) -> None:
        """Delete a blob as another program does."""
        await self.container.delete_blob(name)


type Storage = MemoryStorage | AzureStorage


class PoisonRig:
    """An app with one handler, and operators that redrive and discard.

    Attributes:
        handled: the events that the handler handled, in order.
        fails: returns the error of an event, or None.
        deed: what the handler does to each event first.
    """

    def __init__(self, storage: Storage, breaker: CircuitBreaker) -> None:
        self.storage = storage
        self.breaker = breaker
        self.progress = MemoryProgressStore()
        self.store = MemoryParkingStore(self.progress)
        self.parking = Parking(self.store, storage.claims)
        self.handled: list[Event] = []
        self.fails: Callable[[Event], Exception | None] = lambda _: None
        self.deed: Callable[[Event], object] = lambda _: None

    async def _handle(self, event: Event) -> None:
        self.deed(event)
        if (error := self.fails(event)) is not None:
            raise error
        self.handled.append(event)

    async def process(
        self, *events: Event, handler: str = "tests:handler", **settings: Any
    ) -> None:
        """Process one batch as the app does."""
        processor = BatchProcessor(
            LoadedHandler(handler, self._handle),
            breaker=self.breaker,
            progress=self.progress,
            poison=self.storage.queue,
            parking=self.parking,
            settings=ProcessingSettings(**(FAST | settings)),
            count_poison=False,
            instance="test:1",
        )
        await processor.process(batch(events))

    async def redrive(
        self,
        selection: Selection = Selection(),  # noqa: B008 - frozen
        **options: Any,
    ) -> RedriveSummary:
        """Redrive as an operator does."""
        redrive = Redrive(
            reader=self.storage.reader,
            poison=self.storage.queue,
            parking=self.parking,
            handler=LoadedHandler("tests:handler", self._handle),
            retry=RetryPolicy(max_attempts=1, initial_seconds=0, max_seconds=0),
            instance="test:op",
            own=IDENTITY,
            **options,
        )
        return await redrive.run(selection)

    async def discard(self, name: str) -> tuple[Discard, RedriveSummary]:
        """Discard an event as an operator does."""
        decision = await Discard.decide(
            *(self.storage.reader, self.storage.claims, name),
            own=IDENTITY,
            by="ann",
            reason="never",
        )
        selection = Selection(id=decision.message.id)
        return decision, await self.redrive(selection, discard=decision)

    async def messages(self) -> list[PoisonMessage]:
        """Return the messages as the queue has them."""
        return await browse(self.storage.reader)

    async def events(self) -> list[Event]:
        """Return the poisoned events, each with its body."""
        return [
            (await with_body(message, self.storage.claims)).event
            for message in await self.messages()
        ]


@asynccontextmanager
async def open_storage(connection: str | None) -> AsyncIterator[Storage]:
    """Open a queue and a container of their own; in memory without a connection string."""
    if connection is None:
        yield MemoryStorage()
        return
    name = f"poison-{secrets.token_hex(4)}"
    async with AsyncExitStack() as stack:
        queue = QueueClient.from_connection_string(
            connection, name, message_encode_policy=TextBase64EncodePolicy()
        )
        container = ContainerClient.from_connection_string(connection, name)
        yield AzureStorage(
            await stack.enter_async_context(queue), await stack.enter_async_context(container)
        )


@asynccontextmanager
async def open_poison_rig(connection: str | None) -> AsyncIterator[PoisonRig]:
    """Open a rig; its storage is in memory without a connection string."""
    rules = BreakerSettings(count_poison=False)
    async with (
        open_storage(connection) as storage,
        CircuitBreaker(MemoryCircuitStore(rules.name), rules) as breaker,
    ):
        yield PoisonRig(storage, breaker)
