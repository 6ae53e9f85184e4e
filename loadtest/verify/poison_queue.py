"""Reads the poison queue without taking anything out of it."""

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
_GIVEN_BACK_AT_ONCE = 16
_LOOKS = 50
_PAUSE_SECONDS = 0.2


async def read_poison_queue(endpoints: Endpoints, run: str) -> list[Mapping[str, Any]]:
    """The poison documents of one run, claim-check blobs fetched, in no particular order.

    Every message is received, which hides it, and then made visible again, so the queue stays as it
    was (but for the dequeue counts). What is no JSON document in base64 is no message of this run.
    """
    async with AsyncExitStack() as stack:
        queue = await poison_queue(endpoints, stack)
        blobs = await blob_service(endpoints, stack)
        messages = await _receive_all(queue)
        try:
            await _receive_the_rest(queue, messages)
            documents = [await _document(blobs, message.content) for message in messages]
        finally:
            await _give_back(queue, messages)
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
    """Wait for what somebody else holds, as a console does for a moment when it shows the queue."""
    for _ in range(_LOOKS):
        if len(messages) >= await _count(queue):
            return
        await asyncio.sleep(_PAUSE_SECONDS)
        messages += await _receive_all(queue)


async def _count(queue: QueueClient) -> int:
    """How many there are, whoever holds them."""
    try:
        properties = await queue.get_queue_properties()
    except ResourceNotFoundError:
        return 0
    return int(properties.approximate_message_count or 0)


async def _give_back(queue: QueueClient, messages: list[QueueMessage]) -> None:
    limit = asyncio.Semaphore(_GIVEN_BACK_AT_ONCE)

    async def give_back(message: QueueMessage) -> None:
        async with limit:
            # By id: with the message itself its content would be written back, too.
            await queue.update_message(message.id, message.pop_receipt, visibility_timeout=0)

    await asyncio.gather(*(give_back(message) for message in messages))


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
