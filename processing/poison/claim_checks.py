"""Bodies that lie in blobs, for they are too large: fetching them, and what to do when one is lost.

A blob can vanish: an operator or a lifecycle rule deletes it, or its container. Its event cannot be
replayed then, unless the blob is restored; all that is left to do is to discard it.
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
from processing.poison.message import ClaimCheck, PoisonMessage

AT_ONCE = 16


class BodyState(StrEnum):
    """Where a poison message's body is."""

    QUEUE = "queue"
    BLOB = "blob"
    LOST = "lost"
    UNKNOWN = "unknown"  # the container does not answer


async def with_body(message: PoisonMessage, claims: ClaimChecks) -> PoisonMessage:
    """The message with its body and its properties, wherever they are.

    Raises:
        BodyLostError: the blob is gone, or holds something else.
        StorageUnavailableError: the blob can't be reached.
    """
    if (check := message.claim_check) is None:
        return message
    content = stored_content(check, await claims.get_bytes(check))
    return replace(message, body=content.body, properties=content.properties)


@dataclass(frozen=True, slots=True)
class StoredContent:
    """What a claim check's blob must hold: the body in base64, and the properties."""

    body: str
    properties: Mapping[str, Any]


def stored_content(check: ClaimCheck, data: bytes) -> StoredContent:
    """Return the body and the properties of a stored poison message or parked event.

    Both forms have these two keys. An event can be parked first and become poison because its blob
    was gone; when the blob returns, it still holds the parked form.

    Raises:
        BodyLostError: the blob holds something else.
    """
    try:
        found = json.loads(data)
        content = StoredContent(found["body"], dict(found["properties"]))
        base64.b64decode(content.body, validate=True)
    except KeyError as error:
        raise _holds_something_else(check, f"it lacks {error}") from None
    except (ValueError, TypeError) as error:
        raise _holds_something_else(check, error) from None
    return content


async def states(messages: Sequence[PoisonMessage], claims: ClaimChecks) -> list[BodyState]:
    """Where the bodies are, one state for each message; asks for no body's content."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def state(message: PoisonMessage) -> BodyState:
        if message.claim_check is None:
            return BodyState.QUEUE
        async with turn:
            try:
                there = await claims.has(message.claim_check)
            except StorageUnavailableError:
                return BodyState.UNKNOWN
        return BodyState.BLOB if there else BodyState.LOST

    return list(await asyncio.gather(*map(state, messages)))


def body_lost(check: ClaimCheck) -> BodyLostError:
    """The error for a blob that is not there."""
    return BodyLostError(_text(check, "is gone"))


def _holds_something_else(check: ClaimCheck, why: object) -> BodyLostError:
    return BodyLostError(_text(check, f"holds something else: {why}"))


def _text(check: ClaimCheck, what: str) -> str:
    return f"poison blob {check.container}/{check.blob} {what}"


class ClaimChecks(Protocol):
    """Where lies what is too large for the queue, or for Redis. Each method raises
    `StorageUnavailableError` when it is not done.
    """

    async def shrink(self, message: PoisonMessage) -> PoisonMessage:
        """The message as it fits into the queue: itself, or its claim check."""
        ...

    async def put_bytes(self, name: str, data: bytes) -> ClaimCheck:
        """Store bytes under a name; a repeat overwrites itself."""
        ...

    async def get_bytes(self, check: ClaimCheck) -> bytes:
        """The bytes that a claim check stands for; raises `BodyLostError` if they are gone."""
        ...

    async def has(self, check: ClaimCheck) -> bool:
        """Whether what a claim check stands for is there."""
        ...

    async def delete(self, check: ClaimCheck) -> None:
        """Remove what a claim check stands for, if it is there."""
        ...
