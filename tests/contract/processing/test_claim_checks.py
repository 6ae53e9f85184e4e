"""Contract of every store of claim checks."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from azure.storage.blob.aio import ContainerClient

from processing.errors import BodyLostError, BodyMissingError
from processing.handlers.retry import Failure, FailureKind
from processing.parking.event import ParkedEvent
from processing.poison.claim_check_blobs import ClaimCheckBlobs
from processing.poison.claim_checks import BodyState, ClaimChecks, states, with_body
from processing.poison.memory import MemoryClaimChecks
from processing.poison.message import ClaimCheck, PoisonMessage
from processing.poison.two_accounts import ClaimChecksOfTwo
from tests.support.processing.events import IDENTITY, event


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


async def test_record_is_found_until_it_is_deleted(claims: ClaimChecks) -> None:
    """A repeat overwrites the record, and a repeated deletion changes nothing."""
    check = await claims.write("discarded/b.json", b"first")
    other = await claims.write("discarded/c.json", b"other")
    await claims.put_record("discarded/b.json", b"second")
    assert await claims.get_bytes(check) == b"second"
    assert await claims.get_bytes(check, 3) == b"sec"
    for _ in range(2):
        await claims.delete(check)
        with pytest.raises(BodyLostError, match="is gone"):
            await claims.get_bytes(check)
    assert await claims.get_bytes(other) == b"other"


async def test_record_elsewhere_is_refused(claims: ClaimChecks) -> None:
    """A record must not overwrite the blob of a claim check."""
    with pytest.raises(ValueError, match="is not in the folder discarded"):
        await claims.put_record(poisoned(1, 10).blob_name, b"record")


async def test_message_without_its_body_never_overwrites_its_blob(claims: ClaimChecks) -> None:
    """Such a message is refused by an error; only its texts can be shortened."""
    large = poisoned(1, 100_000)
    stub = await claims.shrink(large)
    with pytest.raises(BodyMissingError, match="has no body"):
        await claims.put(stub)
    parked = ParkedEvent(event(2, body=bytes(100_000)))
    check = await claims.put(parked)
    with pytest.raises(BodyMissingError, match="has no body"):
        await claims.put(parked.with_claim_check(check))
    long = replace(stub, instance="i" * 60_000)
    assert await claims.shrink(long) == replace(stub, instance="i" * 1_024)
    assert (await with_body(stub, claims)).payload == large.payload
    assert json.loads(await claims.get_bytes(check)) == json.loads(parked.to_json())


async def test_store_without_a_blob_has_lost_the_body(claims: ClaimChecks) -> None:
    """A container that does not exist yet is no outage."""
    check = ClaimCheck("poison", "never/stored")
    assert await states([poisoned(1, 10).with_claim_check(check)], claims, IDENTITY) == [
        BodyState.LOST
    ]
    await claims.delete(check)
    with pytest.raises(BodyLostError, match="is gone"):
        await claims.get_bytes(check)


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")], ids=["ours", "another program"])
async def test_blob_whose_body_was_overwritten_is_lost(
    claims: ClaimChecks, separators: tuple[str, str]
) -> None:
    """A redrive of version 0.1 left such blobs; the rest of the message is still there."""
    large = poisoned(1, 100_000)
    stub = await claims.shrink(large)
    whole = json.loads(large.to_json())
    for body, state in ((whole["body"], BodyState.BLOB), (None, BodyState.LOST)):
        text = json.dumps(whole | {"body": body}, separators=separators)
        await claims.write(large.blob_name, text.encode())
        assert await states([stub], claims, IDENTITY) == [state]
    with pytest.raises(BodyLostError, match="holds the event without its body"):
        await with_body(stub, claims)


async def test_blob_of_another_event_is_lost(claims: ClaimChecks) -> None:
    """The state of a body tells the same as the reading of the body."""
    stub = await claims.shrink(poisoned(1, 100_000))
    await claims.write(poisoned(1, 10).blob_name, poisoned(2, 10).to_json().encode())
    assert await states([stub], claims, IDENTITY) == [BodyState.LOST]
    with pytest.raises(BodyLostError, match="it is event 2 of partition 0"):
        await with_body(stub, claims)
