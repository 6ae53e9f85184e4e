"""Claim checks: reading large bodies from their blobs, and finding lost bodies.

An operator or a lifecycle rule can delete a blob or its container. Then the event cannot be
replayed. The operator either restores the blob or discards the event.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

from processing.errors import BodyLostError, StorageUnavailableError
from processing.identity import Identity
from processing.poison.message import ClaimCheck, PoisonMessage

MAX_CONCURRENT_READS = 16
READABLE = frozenset({1, 2, 3})
"""The versions of stored poison messages (1 to 3) and of stored parked events (1 and 2)."""


class BodyState(StrEnum):
    """The place of a poison message's body."""

    QUEUE = "queue"
    BLOB = "blob"
    LOST = "lost"
    UNKNOWN = "unknown"  # the container did not answer
    OTHER_APP = "other app"  # the blob is another app's, and is not looked up


async def with_body(message: PoisonMessage, claims: ClaimChecks) -> PoisonMessage:
    """Return the message with its body and its properties, read from the blob if necessary.

    Raises:
        BodyLostError: the blob was deleted or replaced.
        StorageUnavailableError: the blob cannot be read now.
    """
    if (check := message.claim_check) is None:
        return message
    content = stored_content(check, await claims.get_bytes(check), message)
    return replace(
        message,
        body=content.body,
        properties=content.properties,
        system_properties=content.system_properties,
    )


@dataclass(frozen=True, slots=True)
class StoredContent:
    """The content of a claim check's blob: the body in base64, and the properties."""

    body: str
    properties: Mapping[str, Any]
    system_properties: Mapping[str, Any]


class Placed(Protocol):
    """An event or a message with its place in the hub."""

    @property
    def partition(self) -> str: ...  # noqa: D102

    @property
    def sequence_number(self) -> int: ...  # noqa: D102


def stored_content(check: ClaimCheck, data: bytes, expected: Placed) -> StoredContent:
    """Return the body and the properties of a stored poison message or parked event.

    Both forms have the same keys; 0.1 stored no system properties. A parked event becomes a poison
    message if its blob is lost. When the blob is restored, it still contains the parked form.

    Args:
        check: the blob's claim check.
        data: the blob's content.
        expected: the event whose body is stored.

    Raises:
        BodyLostError: the blob contains something else.
    """
    try:
        found = json.loads(data)
        _check_stored(found, expected)
        content = StoredContent(
            found["body"], dict(found["properties"]), dict(found.get("system_properties", {}))
        )
        base64.b64decode(content.body, validate=True)
    except KeyError as error:
        raise _holds_something_else(check, f"it lacks {error}") from None
    except (ValueError, TypeError) as error:
        raise _holds_something_else(check, error) from None
    return content


async def states(
    messages: Sequence[PoisonMessage], claims: ClaimChecks, own: Identity
) -> list[BodyState]:
    """Return the state of each message's body, without reading the bodies.

    Another app's blob may be in a container that this app does not know, so it is not looked up.
    """
    limit = asyncio.Semaphore(MAX_CONCURRENT_READS)

    async def state(message: PoisonMessage) -> BodyState:
        if message.claim_check is None:
            return BodyState.QUEUE
        if message.source.identity != own:
            return BodyState.OTHER_APP
        async with limit:
            try:
                exists = await claims.has(message.claim_check)
            except StorageUnavailableError:
                return BodyState.UNKNOWN
        return BodyState.BLOB if exists else BodyState.LOST

    return list(await asyncio.gather(*map(state, messages)))


def body_lost(check: ClaimCheck) -> BodyLostError:
    """Return the error for a blob that does not exist."""
    return BodyLostError(_describe(check, "is gone"))


def _check_stored(found: Mapping[str, Any], expected: Placed) -> None:
    if (version := found["version"]) not in READABLE:
        raise ValueError(f"it has version {version!r}")
    place = found["partition"], found["sequence_number"]
    if place != (expected.partition, expected.sequence_number):
        raise ValueError(f"it is event {place[1]} of partition {place[0]}")


def _holds_something_else(check: ClaimCheck, why: object) -> BodyLostError:
    return BodyLostError(_describe(check, f"holds something else: {why}"))


def _describe(check: ClaimCheck, problem: str) -> str:
    return f"poison blob {check.container}/{check.blob} {problem}"


class ClaimChecks(Protocol):
    """A store of messages and events that are too large for the queue or for Redis.

    Each method raises `StorageUnavailableError` if the store fails.
    """

    async def shrink(self, message: PoisonMessage) -> PoisonMessage:
        """Return a small message unchanged; store a large message and return its claim check."""
        ...

    async def put_bytes(self, name: str, data: bytes) -> ClaimCheck:
        """Store bytes under a name; a repeat overwrites the blob."""
        ...

    async def get_bytes(self, check: ClaimCheck) -> bytes:
        """Return the bytes of a claim check; raise `BodyLostError` if they are gone."""
        ...

    async def has(self, check: ClaimCheck) -> bool:
        """Return whether the blob of a claim check exists."""
        ...

    async def delete(self, check: ClaimCheck) -> None:
        """Delete the blob of a claim check, if it exists."""
        ...
