"""Contract of every store of claim checks."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest
from azure.storage.blob.aio import ContainerClient

from processing.errors import BodyLostError
from processing.handlers.retry import Failure, FailureKind
from processing.poison.claim_check_blobs import ClaimCheckBlobs
from processing.poison.claim_checks import ClaimChecks, with_body
from processing.poison.memory import MemoryClaimChecks
from processing.poison.message import ClaimCheck, PoisonMessage
from processing.poison.two_accounts import ClaimChecksOfTwo
from tests.support.processing.events import event


@pytest.fixture(params=["memory", "blobs", "two memories", "two accounts"])
async def claims(request: pytest.FixtureRequest) -> AsyncIterator[ClaimChecks]:
    match request.param:
        case "memory":
            yield MemoryClaimChecks()
            return
        case "two memories":
            yield ClaimChecksOfTwo(MemoryClaimChecks(), MemoryClaimChecks())
            return
    name = f"claims-{secrets.token_hex(4)}"
    azurite, second = map(request.getfixturevalue, ("azurite", "second_account"))
    async with (
        ContainerClient.from_connection_string(azurite, name) as host,
        ContainerClient.from_connection_string(second, name) as app,
    ):
        if request.param == "blobs":
            yield ClaimCheckBlobs(host)
        else:
            yield ClaimChecksOfTwo(ClaimCheckBlobs(app), ClaimCheckBlobs(host))


def poisoned(number: int, size: int) -> PoisonMessage:
    failure = Failure(FailureKind.EXHAUSTED, RuntimeError("why"), 4, 1.0, 2.0)
    return PoisonMessage.from_failure(
        event(number, body=bytes(size)), failure, handler="h", circuit_generation=0, instance="i"
    )


async def test_only_a_large_message_is_stored(claims: ClaimChecks) -> None:
    """The claim check gives the body back, and a repeat overwrites it."""
    small, large = poisoned(1, 10), poisoned(2, 100_000)
    assert await claims.shrink(small) == small
    for _ in range(2):
        stub = await claims.shrink(large)
        assert stub.body is None
        assert (await with_body(stub, claims)).payload == large.payload


async def test_bytes_are_found_until_they_are_deleted(claims: ClaimChecks) -> None:
    """A repeated deletion changes nothing."""
    check = await claims.put_bytes("a/b", b"first")
    assert await claims.put_bytes("a/b", b"second") == check
    assert await claims.get_bytes(check) == b"second"
    assert await claims.has(check)
    other = await claims.put_bytes("a/c", b"other")
    for _ in range(2):
        await claims.delete(check)
        assert not await claims.has(check)
        with pytest.raises(BodyLostError, match="is gone"):
            await claims.get_bytes(check)
    assert await claims.get_bytes(other) == b"other"


async def test_store_without_a_blob_has_lost_the_body(claims: ClaimChecks) -> None:
    """A container that does not exist yet is no outage."""
    check = ClaimCheck("poison", "never/stored")
    assert not await claims.has(check)
    await claims.delete(check)
    with pytest.raises(BodyLostError, match="is gone"):
        await claims.get_bytes(check)
