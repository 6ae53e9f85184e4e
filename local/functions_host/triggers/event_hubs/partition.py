"""One partition of an Event Hubs trigger: its batches, invocations and checkpoints."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from breaker.configuration.host_options import EventHubsOptions
from local.functions_host.triggers.event_hubs.encoding import (
    BindingError,
    data_type_of,
    encode_batch,
    encode_one,
)
from local.functions_host.triggers.event_hubs.extension import DEFAULT_EXTENSION
from local.functions_host.worker.cancellation import OwnershipToken
from local.functions_host.worker.execution import Executor, Invocation
from local.functions_host.worker.functions import Function
from local.functions_host.worker.worker import Datum

if TYPE_CHECKING:
    from local.functions_host.triggers.event_hubs.checkpoint import PartitionCheckpoint
    from local.functions_host.triggers.event_hubs.event import ReceivedEvent
    from local.functions_host.triggers.event_hubs.extension import Extension

_log = logging.getLogger("Host.Triggers.EventHubs")


class PartitionProcessor:
    """A processor of one partition while this instance owns the partition.

    `busy` belongs to the partition, not to the ownership. If this instance gets a partition back
    while an invocation of the earlier ownership still runs, the first batch waits for it.
    """

    def __init__(
        self,
        function: Function,
        executor: Executor,
        options: EventHubsOptions,
        *,
        partition: str,
        context_json: str,
        checkpoint: PartitionCheckpoint,
        busy: asyncio.Lock,
        is_owner: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
        extension: Extension = DEFAULT_EXTENSION,
    ) -> None:
        self._function = function
        self._executor = executor
        self._options = options
        self._partition = partition
        self._context_json = context_json
        self._checkpoint = checkpoint
        self._busy = busy
        self._clock = clock
        self._extension: Extension = extension
        self._ownership = OwnershipToken(is_owner)
        self._data_type = data_type_of(function.trigger)
        self._many = str(function.trigger.get("cardinality", "one")).lower() == "many"
        self._waiting: list[ReceivedEvent] = []
        self._waiting_since = 0.0

    def cancel(self) -> None:
        """End retries, start no invocation and write no checkpoint after a stop or a loss."""
        self._ownership.cancel()

    async def process(self, events: Sequence[ReceivedEvent]) -> None:
        """Pass events to the function, then checkpoint the last event.

        The checkpoint follows a success and a failure, but not a cancellation. It waits for all
        retries of the invocation. Nothing is started or checkpointed while the ownership of the
        partition is uncertain.
        """
        async with self._busy:
            for batch in self._batches(events):
                if not await self._ownership.confirm():
                    return
                if self._many:
                    await self._invoke_many(batch)
                else:
                    await self._invoke_each(batch)
                if not await self._ownership.confirm():
                    return
                await self._checkpoint.advance(self._partition, batch[-1])

    def _batches(self, events: Sequence[ReceivedEvent]) -> list[Sequence[ReceivedEvent]]:
        """Collect events up to the minimum size or the maximum wait; split at the maximum size."""
        options = self._options
        if options.min_event_batch_size <= 1 or not self._many:
            return [events] if events else []
        if events and not self._waiting:
            self._waiting_since = self._clock()
        self._waiting.extend(events)
        overdue = self._clock() - self._waiting_since >= options.max_wait_time.total_seconds()
        batches: list[Sequence[ReceivedEvent]] = []
        while self._waiting and (overdue or len(self._waiting) >= options.min_event_batch_size):
            batches.append(self._waiting[: options.max_event_batch_size])
            del self._waiting[: options.max_event_batch_size]
            self._waiting_since = self._clock()
        return batches

    async def _invoke_many(self, events: Sequence[ReceivedEvent]) -> None:
        form = (self._data_type, self._context_json, self._extension)
        await self._invoke(partial(encode_batch, events, *form), events)

    async def _invoke_each(self, events: Sequence[ReceivedEvent]) -> None:
        form = (self._data_type, self._context_json, self._extension)
        for event in events:
            if not await self._ownership.confirm():
                return
            await self._invoke(partial(encode_one, event, *form), [event])

    async def _invoke(
        self,
        encode: Callable[[], tuple[Datum, dict[str, Datum]]],
        events: Sequence[ReceivedEvent],
    ) -> None:
        """Run the function; an event that cannot be bound fails each attempt, as on Azure."""
        try:
            datum, metadata = encode()
            unbound = ""
        except BindingError as error:
            datum, metadata, unbound = Datum(None, None), {}, str(error)
        invocation = Invocation(
            datum, metadata, "(null)", self._details(events), logging.DEBUG, unbound
        )
        await self._executor.execute(self._function, invocation, self._ownership)

    def _details(self, events: Sequence[ReceivedEvent]) -> Any:
        if not _log.isEnabledFor(logging.DEBUG):
            return ""
        first, last = events[0], events[-1]
        return (
            f"PartitionId: {self._partition}, Offset: {first.offset}-{last.offset}, "
            f"EnqueueTimeUtc: {first.enqueued_time}-{last.enqueued_time}, "
            f"SequenceNumber: {first.sequence_number}-{last.sequence_number}, "
            f"Count: {len(events)}"
        )
