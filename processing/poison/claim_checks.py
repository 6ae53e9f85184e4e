"""Bodies that lie in blobs, for they are too large: fetching them, and what to do when one is lost.

A blob can vanish: an operator or a lifecycle rule deletes it, or its container. Its event cannot be
replayed then, unless the blob is restored; all that is left to do is to discard it.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from processing.errors import BodyLostError, StorageUnavailableError
from processing.parking.event import ParkedEvent
from processing.poison.message import ClaimCheck, ClaimChecks, PoisonMessage

AT_ONCE = 16


class BodyState(StrEnum):
    """Where a poison message's body is."""

    QUEUE = "queue"
    BLOB = "blob"
    LOST = "lost"
    UNKNOWN = "unknown"  # the container does not answer


async def whole(message: PoisonMessage, claims: ClaimChecks) -> PoisonMessage:
    """The message with its body and its properties, wherever they are.

    Raises:
        BodyLostError: the blob is gone, or holds something else.
        StorageUnavailableError: the blob can't be reached.
    """
    if (check := message.claim_check) is None:
        return message
    data = await claims.get_bytes(check)
    try:
        return message.whole(PoisonMessage.from_json(data))
    except ValueError as error:
        try:  # one that was parked first, and poison because its blob was gone, which is back now
            event = ParkedEvent.from_json(data).event
        except (ValueError, TypeError):
            raise BodyLostError(_text(check, f"holds something else: {error}")) from None
        body = base64.b64encode(event.body).decode()
        return replace(message, body=body, properties=event.properties)


async def parked_whole(parked: ParkedEvent, claims: ClaimChecks) -> ParkedEvent:
    """The parked event with its body and its properties, wherever they are.

    Raises:
        BodyLostError: the blob is gone, or holds something else.
        StorageUnavailableError: the blob can't be reached.
    """
    if (check := parked.claim_check) is None:
        return parked
    data = await claims.get_bytes(check)
    try:
        return ParkedEvent.from_json(data)
    except (ValueError, TypeError) as error:
        raise BodyLostError(_text(check, f"holds something else: {error}")) from None


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


def lost(check: ClaimCheck) -> BodyLostError:
    """The error for a blob that is not there."""
    return BodyLostError(_text(check, "is gone"))


def _text(check: ClaimCheck, what: str) -> str:
    return f"poison blob {check.container}/{check.blob} {what}"
