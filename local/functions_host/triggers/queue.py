"""The queue trigger: messages of a storage queue, and the poison queue for failed messages."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from local.functions_host.storage import QUICK_RETRIES
from local.functions_host.worker.cancellation import CancellationToken
from local.functions_host.worker.execution import Executor, Invocation
from local.functions_host.worker.worker import Datum

if TYPE_CHECKING:
    from azure.storage.queue import QueueMessage

    from breaker.configuration.host_options import QueuesOptions
    from local.functions_host.worker.functions import Function

_log = logging.getLogger("Host.Triggers.Queue")
_INVISIBLE = timedelta(minutes=10)
"""The visibility timeout of a message, renewed while its function runs."""
_RENEW_SECONDS = _INVISIBLE.total_seconds() / 2
_FIRST_WAIT = 0.1
_LAST_POLL = 2.0


class QueueListener:
    """A listener that polls one queue and runs the function for each message, several in parallel.

    A message whose function failed becomes visible again after `visibilityTimeout`. A message that
    was received `maxDequeueCount` times goes to the queue `<name>-poison`. A message that ended its
    host that often goes there without another run.
    """

    def __init__(
        self,
        function: Function,
        connection: str,
        queue: str,
        options: QueuesOptions,
        executor: Executor,
    ) -> None:
        self._function = function
        self._connection = connection
        self._name = queue
        self._options = options
        self._executor = executor
        self._token = CancellationToken()
        self._running: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start polling in the background."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def drain(self) -> None:
        """Receive no more messages."""
        self._token.cancel()

    async def stop(self, grace: float) -> None:
        """Receive no more messages; wait up to `grace` seconds for the received ones."""
        self._token.cancel()
        if self._task is None:
            return
        # Let a running poll end: a message that it receives must not stay hidden without a run.
        await asyncio.wait([self._task], timeout=min(grace, _LAST_POLL))
        if self._running:
            await asyncio.wait(self._running, timeout=grace)
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        async with QueueServiceClient.from_connection_string(
            self._connection, **QUICK_RETRIES
        ) as service:
            queue = service.get_queue_client(self._name)
            poison = service.get_queue_client(f"{self._name}-poison")
            await self._poll(queue, poison)
            if self._running:  # the functions' tasks delete their messages with these clients
                await asyncio.wait(self._running)

    async def _poll(self, queue: QueueClient, poison: QueueClient) -> None:
        wait = _FIRST_WAIT
        longest = self._options.max_polling_interval.total_seconds()
        while not self._token.is_cancelled():
            taken = 0
            try:
                async for message in queue.receive_messages(
                    max_messages=self._options.batch_size,
                    visibility_timeout=int(_INVISIBLE.total_seconds()),
                ):
                    taken += 1
                    work = self._executor.start(self._handle(queue, poison, message))
                    self._running.add(work)
                    work.add_done_callback(self._running.discard)
                    if taken == self._options.batch_size:
                        break
            except ResourceNotFoundError:
                pass  # the queue has not been created yet
            except AzureError as error:
                _log.warning(
                    "queue %s: messages could not be received; the host polls again: %s: %s",
                    self._name,
                    type(error).__name__,
                    error,
                )
            wait = _FIRST_WAIT if taken else min(wait * 2, longest)
            while len(self._running) > self._options.new_batch_threshold:
                await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            if not taken:
                await self._token.wait(wait)

    async def _handle(self, queue: QueueClient, poison: QueueClient, message: QueueMessage) -> None:
        taken = message.dequeue_count or 1
        ok = taken <= self._options.max_dequeue_count and await self._run_hidden(queue, message)
        try:
            if ok:
                await queue.delete_message(message)
            elif taken >= self._options.max_dequeue_count:
                await self._move(queue, poison, message)
            else:
                timeout = int(self._options.visibility_timeout.total_seconds())
                await queue.update_message(message, visibility_timeout=timeout)
        except AzureError as error:
            _log.warning("queue %s: message %s: %s", self._name, message.id, error)

    async def _run_hidden(self, queue: QueueClient, message: QueueMessage) -> bool:
        """Run the function while the message stays hidden; return whether the run succeeded."""
        invocation = queue_invocation(
            self._decode(message.content),
            message.id,
            message.dequeue_count or 1,
            f"New queue message detected on '{self._name}'.",
            message,
        )
        ended = CancellationToken()
        hiding = asyncio.create_task(self._keep_hidden(queue, message, ended))
        try:
            return (await self._executor.execute(self._function, invocation, self._token)).ok
        finally:
            # Not cancelled, because a renewal in progress returns the receipt that is needed next.
            ended.cancel()
            await hiding

    async def _keep_hidden(
        self, queue: QueueClient, message: QueueMessage, ended: CancellationToken
    ) -> None:
        while not await ended.wait(_RENEW_SECONDS):
            try:
                fresh = await queue.update_message(
                    message, visibility_timeout=int(_INVISIBLE.total_seconds())
                )
                message.pop_receipt = fresh.pop_receipt
            except AzureError as error:
                _log.warning("queue %s: message %s: %s", self._name, message.id, error)

    async def _move(self, queue: QueueClient, poison: QueueClient, message: QueueMessage) -> None:
        """Copy the message first, then delete it, so that it may be doubled but never lost."""
        with suppress(ResourceExistsError):
            await poison.create_queue()
        await poison.send_message(message.content)
        await queue.delete_message(message)
        _log.warning(
            "Message has reached MaxDequeueCount of %d. Moving message to queue '%s-poison'.",
            self._options.max_dequeue_count,
            self._name,
        )

    def _decode(self, content: str) -> bytes:
        """Return the body; a body that is not base64 despite the option is used unchanged."""
        if self._options.message_encoding == "base64":
            with suppress(binascii.Error, ValueError):
                return base64.b64decode(content, validate=True)
        return content.encode()


def queue_invocation(
    body: bytes, message_id: str, dequeue_count: int, reason: str, message: Any = None
) -> Invocation:
    """Build the invocation of a queue function."""
    now = datetime.now(UTC)
    times = {
        "InsertionTime": getattr(message, "inserted_on", None) or now,
        "ExpirationTime": getattr(message, "expires_on", None) or now + timedelta(days=7),
        "NextVisibleTime": getattr(message, "next_visible_on", None) or now,
    }
    metadata = {
        "Id": Datum(message_id, "string"),
        "DequeueCount": Datum(str(dequeue_count), "string"),
        "PopReceipt": Datum(getattr(message, "pop_receipt", None) or "", "string"),
        **{name: Datum(json.dumps(time.isoformat()), "json") for name, time in times.items()},
    }
    try:
        datum = Datum(body.decode(), "string")
    except UnicodeDecodeError:
        datum = Datum(body, "bytes")
    return Invocation(datum, metadata, reason)
