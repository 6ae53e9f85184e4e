"""The reader of the poison queue, which leaves every message in the queue."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient

from loadtest.target.clients import blob_service, poison_queue
from loadtest.target.endpoints import Endpoints

_HIDDEN_SECONDS = 120
_CONCURRENT_RELEASES = 16
_MOST_POLLS = 50
_PAUSE_SECONDS = 0.2


async def read_poison_queue(endpoints: Endpoints, run: str) -> list[Mapping[str, Any]]:
    """Return the poison documents of one run, with claim-check blobs fetched, in any order.

    Each message is received with a visibility timeout and then made visible again, so that only its
    dequeue count changes. Messages that are not JSON in base64 are ignored.
    """
    async with AsyncExitStack() as stack:
        queue = await poison_queue(endpoints, stack)
        blobs = await blob_service(endpoints, stack)
        messages = await _receive_all(queue)
        try:
            await _receive_the_rest(queue, messages)
            documents = [await _document(blobs, message.content) for message in messages]
        finally:
            await _release(queue, messages)
    return [document for document in documents if _run_of(document) == run]


async def _receive_all(queue: QueueClient) -> list[QueueMessage]:
    try:
        return [
            message
            async for message in queue.receive_messages(
                messages_per_page=32, visibility_timeout=_HIDDEN_SECONDS
            )
        ]
    except ResourceNotFoundError:
        return []


async def _receive_the_rest(queue: QueueClient, messages: list[QueueMessage]) -> None:
    """Wait for messages that another reader holds, such as a console that shows the queue."""
    for _ in range(_MOST_POLLS):
        if len(messages) >= await _count(queue):
            return
        await asyncio.sleep(_PAUSE_SECONDS)
        messages += await _receive_all(queue)


async def _count(queue: QueueClient) -> int:
    """Return the number of messages, including those that a reader holds."""
    try:
        properties = await queue.get_queue_properties()
    except ResourceNotFoundError:
        return 0
    return int(properties.approximate_message_count or 0)


async def _release(queue: QueueClient, messages: list[QueueMessage]) -> None:
    limit = asyncio.Semaphore(_CONCURRENT_RELEASES)

    async def release(message: QueueMessage) -> None:
        async with limit:
            # Pass the id, because passing the message would write its content again.
            await queue.update_message(message.id, message.pop_receipt, visibility_timeout=0)

    await asyncio.gather(*(release(message) for message in messages))


async def _document(blobs: BlobServiceClient, text: str) -> Mapping[str, Any]:
    try:
        document = _parsed(base64.b64decode(text, validate=True))
    except binascii.Error:
        return {}
    claim = document.get("claim_check")
    if isinstance(claim, Mapping):
        blob = blobs.get_blob_client(str(claim["container"]), str(claim["blob"]))
        download = await blob.download_blob()
        document = _parsed(await download.readall())
    return document


def _parsed(text: str | bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    return document if isinstance(document, Mapping) else {}


def _run_of(document: Mapping[str, Any]) -> object:
    properties = document.get("properties")
    return properties.get("run") if isinstance(properties, Mapping) else None
