"""The Event Hubs trigger: partition ownership and receiving with Microsoft's SDK."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import datetime, timedelta
from ssl import PROTOCOL_TLS_CLIENT, SSLContext
from typing import TYPE_CHECKING, Any, cast

from azure.eventhub import TransportType

from local.functions_host.triggers.event_hubs.checkpoint import (
    PartitionCheckpoint,
    open_checkpoint_store,
)
from local.functions_host.triggers.event_hubs.encoding import PartitionContext
from local.functions_host.triggers.event_hubs.extension import DEFAULT_EXTENSION
from local.functions_host.triggers.event_hubs.ownership import Processor
from local.functions_host.triggers.event_hubs.partition import PartitionProcessor
from local.functions_host.triggers.event_hubs.receiver import ConsumerClient

if TYPE_CHECKING:
    from azure.eventhub.aio import PartitionContext as SdkPartitionContext

    from breaker.configuration.host_options import EventHubsOptions
    from local.functions_host.triggers.event_hubs.balancing import Balancing
    from local.functions_host.triggers.event_hubs.checkpoint import CheckpointStore
    from local.functions_host.triggers.event_hubs.event import ReceivedEvent
    from local.functions_host.triggers.event_hubs.extension import Extension
    from local.functions_host.triggers.event_hubs.source import EventHubsSource
    from local.functions_host.worker.execution import Executor
    from local.functions_host.worker.functions import Function

_log = logging.getLogger("Host.Triggers.EventHubs")


class EventHubsListener:
    """A listener that owns a share of the partitions and runs the function on their events."""

    def __init__(
        self,
        function: Function,
        source: EventHubsSource,
        options: EventHubsOptions,
        executor: Executor,
        balancing: Balancing,
        *,
        extension: Extension = DEFAULT_EXTENSION,
    ) -> None:
        self._function = function
        self._source = source
        self._options = options
        self._executor = executor
        self._balancing = balancing
        self._extension: Extension = extension
        self._busy: dict[str, asyncio.Lock] = {}
        self._processors: dict[str, PartitionProcessor] = {}
        self._draining = asyncio.Event()
        self._stopping = False
        self._release_until = 0.0
        self._store: CheckpointStore | None = None
        self._client: ConsumerClient | None = None
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start claiming partitions and receiving in the background."""
        self._running = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        """Receive until stopped; retry while the source is not available."""
        while True:
            try:
                self._store = self._store or await self._open_store()
                self._client = self._client or self._new_client()
                await self._receive(self._client, self._store)
            except Exception as error:
                _log.error(
                    "The listener for function 'Functions.%s' was unable to start; "
                    "the host retries: %r",
                    self._function.name,
                    error,
                )
            await asyncio.sleep(self._balancing.interval_seconds)

    async def _open_store(self) -> CheckpointStore:
        store = await open_checkpoint_store(self._source.storage)
        store.before_release = self._before_release
        return store

    def _new_client(self) -> ConsumerClient:
        client = ConsumerClient.from_connection_string(
            self._source.connection,
            self._source.consumer_group,
            eventhub_name=self._source.event_hub,
            transport_type=TransportType.AmqpOverWebsocket
            if self._options.transport_type == "amqpWebSockets"
            else TransportType.Amqp,
            # Even without TLS, the SDK would read every root certificate for each partition.
            ssl_context=None if self._source.uses_tls else SSLContext(PROTOCOL_TLS_CLIENT),
        )
        return cast("ConsumerClient", client)

    async def _receive(self, client: ConsumerClient, store: CheckpointStore) -> None:
        wait = None
        if self._options.min_event_batch_size > 1:
            # The SDK then also calls without events, so that a small batch is not delayed further.
            wait = min(0.5, self._options.max_wait_time.total_seconds())
        processor = Processor(
            client,
            self._source.consumer_group,
            self._on_batch,
            store,
            self._balancing,
            max_batch_size=self._options.max_event_batch_size,
            max_wait_time=wait,
            prefetch=self._options.prefetch_count,
            initial_event_position=self._starting_position(),
            error_handler=self._on_error,
            partition_initialize_handler=self._on_partition_initialize,
            partition_close_handler=self._on_partition_close,
        )
        await processor.run()

    async def drain(self) -> None:
        """Start no more batches; running batches end, retry and checkpoint as usual."""
        self._draining.set()

    async def stop(self, grace: float) -> None:
        """Cancel, stop receiving, and release each partition after its invocation has ended."""
        self._stopping = True
        self._release_until = asyncio.get_running_loop().time() + grace
        for processor in self._processors.values():
            processor.cancel()
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running
        if self._client is not None:
            await self._client.close()
        if self._store is not None:
            await self._store.release_all()
            await self._store.close()

    async def _on_batch(self, context: SdkPartitionContext, events: list[ReceivedEvent]) -> None:
        processor = self._processors[context.partition_id]
        if self._draining.is_set():
            # Never returns, because the SDK would count the events as handled and continue.
            await asyncio.Event().wait()
        work = self._executor.start(processor.process(events))
        try:
            # The SDK cancels this task when the partition is lost; a function cannot be cancelled.
            await asyncio.shield(work)
        except asyncio.CancelledError:
            processor.cancel()
            raise

    async def _on_partition_initialize(self, context: SdkPartitionContext) -> None:
        partition = context.partition_id
        place = PartitionContext(
            context.fully_qualified_namespace,
            context.eventhub_name,
            context.consumer_group,
            partition,
        )
        self._processors[partition] = PartitionProcessor(
            self._function,
            self._executor,
            self._options,
            partition=partition,
            context_json=place.to_json(),
            checkpoint=PartitionCheckpoint(
                context.update_checkpoint, self._options.batch_checkpoint_frequency
            ),
            busy=self._busy.setdefault(partition, asyncio.Lock()),
            is_owner=lambda: self._is_owner(partition),
            extension=self._extension,
        )
        if self._stopping:
            self._processors[partition].cancel()
        _log.info("'Functions.%s': claimed partition %s", self._function.name, partition)

    def _is_owner(self, partition: str) -> bool:
        lease = self._balancing.lease_seconds
        return self._store is not None and self._store.is_certain(partition, lease)

    async def _on_partition_close(self, context: SdkPartitionContext, reason: Any) -> None:
        partition = context.partition_id
        if processor := self._processors.get(partition):
            processor.cancel()
        _log.info(
            "'Functions.%s': released partition %s (%s)",
            self._function.name,
            partition,
            getattr(reason, "name", reason),
        )

    async def _on_error(self, context: SdkPartitionContext | None, error: Exception) -> None:
        place = "balancing" if context is None else f"receiving of partition {context.partition_id}"
        _log.warning(
            "'Functions.%s': %s failed and is retried: %s: %s",
            self._function.name,
            place,
            type(error).__name__,
            self._source.explain(error),
        )

    async def _before_release(self, partition: str) -> None:
        """Wait for the partition's invocation; in a stop, at most for the grace period."""
        busy = self._busy.get(partition)
        if busy is None:
            return
        timeout = None
        if self._stopping:
            timeout = max(0.0, self._release_until - asyncio.get_running_loop().time())
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout), busy:
                pass

    def _starting_position(self) -> str | datetime:
        """Return the position without a checkpoint; the SDK starts after this position."""
        when = self._options.initial_enqueued_time
        match self._options.initial_offset:
            case "fromEnqueuedTime" if when is not None:
                # The SDK's "inclusive" option would also apply to checkpoints, so subtract 1 ms.
                return when - timedelta(milliseconds=1)
            case "fromEnd":
                return "@latest"
            case _:
                return "-1"
