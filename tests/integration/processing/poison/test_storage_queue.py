"""The poison queue on real Azurite, with inline messages and claim checks."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from azure.storage.blob.aio import ContainerClient
from azure.storage.queue import TextBase64DecodePolicy, TextBase64EncodePolicy
from azure.storage.queue.aio import QueueClient

from processing.errors import BodyLostError, StorageUnavailableError
from processing.event import Event
from processing.handlers.retry import Failure, FailureKind
from processing.identity import Source
from processing.poison.claim_check_blobs import ClaimCheckBlobs
from processing.poison.claim_checks import BodyState, states, with_body
from processing.poison.message import ClaimCheck, PoisonMessage
from processing.poison.storage_queue import StoragePoisonQueue
from tests.support.processing.events import IDENTITY, SOURCE, event


class Rig:
    """A poison queue, whose queue and container do not exist yet."""

    def __init__(self, queue: QueueClient, container: ContainerClient) -> None:
        self.queue = queue
        self.container = container
        self.blobs = ClaimCheckBlobs(container)
        self.poison = StoragePoisonQueue(queue, self.blobs)

    async def messages(self) -> list[PoisonMessage]:
        return [
            PoisonMessage.from_json(message.content)
            async for message in self.queue.receive_messages()
        ]


@pytest.fixture
async def rig(azurite: str) -> AsyncIterator[Rig]:
    name = f"poison-{secrets.token_hex(4)}"
    async with AsyncExitStack() as stack:
        queue = QueueClient.from_connection_string(
            azurite,
            name,
            message_encode_policy=TextBase64EncodePolicy(),
            message_decode_policy=TextBase64DecodePolicy(),
        )
        container = ContainerClient.from_connection_string(azurite, name)
        yield Rig(
            await stack.enter_async_context(queue), await stack.enter_async_context(container)
        )


def poisoned(each: Event) -> PoisonMessage:
    return PoisonMessage.from_failure(
        each,
        Failure(FailureKind.EXHAUSTED, RuntimeError("why"), 4, 1.0, 2.0),
        handler="h",
        circuit_generation=0,
        instance="i",
    )


async def test_small_message_is_stored_in_the_queue(rig: Rig) -> None:
    """The queue is created at the first write, and no container is created."""
    message = poisoned(event(1, "ключ", body=b"\xff\x00", properties={"n": 1}))
    await rig.poison.put(message)
    assert await rig.messages() == [message]
    assert not await rig.container.exists()


async def test_large_message_is_stored_in_a_blob(rig: Rig) -> None:
    """The blob has the 1 MB body byte for byte, and the queue has its claim check."""
    body = secrets.token_bytes(1_000_000)
    message = poisoned(event(1, "k" * 128, body=body, properties={"p": "x" * 20_000}))
    await rig.poison.put(message)
    (claim,) = await rig.messages()
    assert claim.body is None
    assert (claim.id, claim.key, claim.attempts) == (message.id, message.key, 4)
    assert claim.claim_check is not None
    stored = await rig.blobs.get_bytes(claim.claim_check)
    assert PoisonMessage.from_json(stored) == message
    assert (await with_body(claim, rig.blobs)).payload == body


async def test_missing_blob_raises_body_lost(rig: Rig) -> None:
    """A missing container counts as a lost body as well, and not as an outage."""
    await rig.poison.put(poisoned(event(1, body=bytes(100_000))))
    (claim,) = await rig.messages()
    assert claim.claim_check is not None
    assert await states([claim], rig.blobs, IDENTITY) == [BodyState.BLOB]
    await rig.blobs.delete(claim.claim_check)
    for _ in range(2):
        assert await states([claim], rig.blobs, IDENTITY) == [BodyState.LOST]
        with pytest.raises(BodyLostError, match="is gone"):
            await with_body(claim, rig.blobs)
        if await rig.container.exists():
            await rig.container.delete_container()


async def test_each_event_has_its_own_blob(rig: Rig) -> None:
    """The blob's name has the hub, group, partition, sequence number and enqueued time."""
    body = bytes(100_000)
    alike = [
        poisoned(event(7, body=b"0" + body)),
        poisoned(event(7, body=b"1" + body, enqueued_ms=1)),
        poisoned(event(7, body=b"2" + body, source=replace(SOURCE, partition="1"))),
        *(
            poisoned(event(7, body=body, source=Source(replace(IDENTITY, **{name: "other"}), "0")))
            for name in ("namespace", "hub", "consumer_group", "pipeline")
        ),
    ]
    small = [await rig.blobs.shrink(message) for message in alike]
    for message, check in zip(alike, small, strict=True):
        assert check.claim_check is not None
        assert (await with_body(check, rig.blobs)).payload == message.payload


async def test_repeated_message_overwrites_its_blob(rig: Rig) -> None:
    """Another event has another blob."""
    for _ in range(2):
        await rig.poison.put(poisoned(event(1, body=bytes(100_000))))
    await rig.poison.put(poisoned(event(2, body=bytes(100_000))))
    assert len([blob async for blob in rig.container.list_blobs()]) == 2


async def test_messages_around_the_inline_limit_are_stored(rig: Rig) -> None:
    """Smaller messages are inline, and larger ones have a claim check."""
    overhead = len(poisoned(event(1, body=b"")).to_json())
    edge = (48 * 1024 - overhead) * 3 // 4
    for number, size in enumerate((edge - 3, edge, edge + 3)):
        await rig.poison.put(poisoned(event(number, body=bytes(size))))
    found = await rig.messages()
    assert sorted(message.sequence_number for message in found) == [0, 1, 2]
    assert {message.claim_check is None for message in found} == {True, False}


async def test_messages_never_expire(rig: Rig) -> None:
    """The service's default of seven days would lose messages."""
    await rig.poison.put(poisoned(event(1)))
    (message,) = [each async for each in rig.queue.receive_messages()]
    assert message.expires_on is not None
    assert message.expires_on.year == 9999


async def test_concurrent_large_messages_are_stored(rig: Rig) -> None:
    """The first message creates the container."""
    await asyncio.gather(
        *(rig.poison.put(poisoned(event(n, body=bytes(60_000)))) for n in range(5))
    )
    assert len([blob async for blob in rig.container.list_blobs()]) == 5


async def test_message_text_is_base64(rig: Rig, azurite: str) -> None:
    """The queue trigger of Azure Functions expects base64."""
    await rig.poison.put(poisoned(event(1)))
    async with QueueClient.from_connection_string(azurite, rig.queue.queue_name) as raw:
        (message,) = [each async for each in raw.receive_messages()]
    assert PoisonMessage.from_json(base64.b64decode(message.content)).sequence_number == 1


async def test_concurrent_messages_are_stored(rig: Rig) -> None:
    """The first message creates the queue."""
    await asyncio.gather(*(rig.poison.put(poisoned(event(n))) for n in range(20)))
    found: set[int] = set()
    async for message in rig.queue.receive_messages(max_messages=20):
        found.add(PoisonMessage.from_json(message.content).sequence_number)
    assert found == set(range(20))


async def test_unreachable_storage_raises_storage_unavailable() -> None:
    """The error names the queue or the blob, and the message is not stored."""
    nowhere = (
        "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=AAAA;"
        "QueueEndpoint=http://127.0.0.1:9/a;BlobEndpoint=http://127.0.0.1:9/a"
    )
    async with (
        QueueClient.from_connection_string(nowhere, "poison", retry_total=0) as queue,
        ContainerClient.from_connection_string(nowhere, "poison", retry_total=0) as container,
    ):
        poison = StoragePoisonQueue(queue, ClaimCheckBlobs(container))
        with pytest.raises(StorageUnavailableError, match="poison queue poison"):
            await poison.put(poisoned(event(1)))
        with pytest.raises(StorageUnavailableError, match="poison blob poison/"):
            await poison.put(poisoned(event(1, body=bytes(100_000))))
        blobs, check = ClaimCheckBlobs(container), ClaimCheck("poison", "b")
        with pytest.raises(StorageUnavailableError, match="poison blob poison/b"):
            await blobs.get_bytes(check)
