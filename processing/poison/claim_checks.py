"""Claim checks: large bodies in blobs, and lost bodies.

When the hub has removed an event, the claim check's blob is the only copy of the event's body. So
a blob is written only from a message or an event that has its body.

An operator or a lifecycle rule can delete a blob or its container. Then the event cannot be
replayed. The operator either restores the blob or discards the event.
"""

from __future__ import annotations

import asyncio
import base64
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

from processing.errors import BodyLostError, BodyMissingError, StorageUnavailableError
from processing.formats.cut import short_key
from processing.identity import Identity, Source
from processing.poison.discard_records import FOLDER
from processing.poison.message import ClaimCheck, PoisonMessage

MAX_CONCURRENT_READS = 16
BEGINNING_BYTES = 4_096
"""Size of a blob's part that nearly always contains the beginning of the body."""
READABLE = frozenset({1, 2, 3})
"""The versions of stored poison messages (1 to 3) and of stored parked events (1 and 2)."""


class BodyState(StrEnum):
    """The place of a poison message's body."""

    QUEUE = "queue"
    BLOB = "blob"
    LOST = "lost"
    UNKNOWN = "unknown"  # the container did not answer
    OTHER_APP = "other app"  # the blob is another app's, and is not looked up


class Whole(Protocol):
    """An event or a message that a claim check's blob stores."""

    @property
    def has_body(self) -> bool: ...  # noqa: D102

    @property
    def blob_name(self) -> str: ...  # noqa: D102

    def to_json(self) -> str: ...  # noqa: D102


class ClaimChecks(ABC):
    """A store of messages and events that are too large for the queue or for Redis.

    Each method raises `StorageUnavailableError` if the store fails.
    """

    async def shrink(self, message: PoisonMessage) -> PoisonMessage:
        """Return a message that fits into the queue.

        A small message stays as it is. A large message is stored, and its claim check is returned.
        Of a message that already is a claim check, the texts are cut, and the blob does not change.
        """
        if message.claim_check is not None and not message.has_body:
            return message.with_claim_check(message.claim_check)
        return message.with_claim_check(await self.put(message)) if message.is_large else message

    async def put(self, whole: Whole) -> ClaimCheck:
        """Store a message or an event; a repeat for the same event overwrites the blob.

        Raises:
            BodyMissingError: the message has no body; its blob keeps what it contains.
        """
        if not whole.has_body:
            raise BodyMissingError(
                f"blob {whole.blob_name} is not written, because its message has no body"
            )
        return await self.write(whole.blob_name, whole.to_json().encode())

    async def put_record(self, name: str, record: bytes) -> None:
        """Store a record of a discarded event; `name` is in the folder `discarded`."""
        if not name.startswith(f"{FOLDER}/"):
            raise ValueError(f"{name!r} is not in the folder {FOLDER}")
        await self.write(name, record)

    @abstractmethod
    async def write(self, name: str, data: bytes) -> ClaimCheck:
        """Write or overwrite a blob; called by the methods above only."""

    @abstractmethod
    async def get_bytes(self, check: ClaimCheck, most: int | None = None) -> bytes:
        """Return the bytes of a claim check, or the first `most` bytes.

        Raises:
            BodyLostError: the blob is gone.
        """

    @abstractmethod
    async def delete(self, check: ClaimCheck) -> None:
        """Delete the blob of a claim check, if it exists."""

    @abstractmethod
    async def names(self, prefix: str) -> list[str]:
        """Return the names of all blobs that begin with a prefix."""


async def with_body(message: PoisonMessage, claims: ClaimChecks) -> PoisonMessage:
    """Return the message with its body and its properties, read from the blob if necessary.

    Raises:
        BodyLostError: the blob was deleted or replaced.
        StorageUnavailableError: the blob cannot be read now.
    """
    if (check := message.claim_check) is None:
        return message
    content = stored_content(check, await claims.get_bytes(check), message)
    # The message of a claim check may have a cut key and a cut offset.
    was_cut = content.key is not None and short_key(content.key) == message.key
    return replace(
        message,
        key=content.key if was_cut else message.key,
        offset=content.offset or message.offset,
        body=content.body,
        properties=content.properties,
        system_properties=content.system_properties,
    )


async def first_with_body(
    copies: Sequence[PoisonMessage], claims: ClaimChecks
) -> tuple[PoisonMessage, BodyLostError | None]:
    """Return the first message whose body is not lost, with its body.

    If all bodies are lost, return the first message, without its body, and the error of that body.

    Args:
        copies: the messages of one event; at least one.
        claims: the claim checks.

    Raises:
        StorageUnavailableError: a blob cannot be read now.
    """
    lost: BodyLostError | None = None
    for message in copies:
        try:
            return await with_body(message, claims), None
        except BodyLostError as error:
            lost = lost or error
    return copies[0], lost


@dataclass(frozen=True, slots=True)
class StoredContent:
    """The content of a claim check's blob: the event's parts, with the body in base64."""

    body: str
    properties: Mapping[str, Any]
    system_properties: Mapping[str, Any]
    key: str | None
    offset: str  # "" if the blob has none


class Placed(Protocol):
    """An event or a message with its place in the hub."""

    @property
    def source(self) -> Source: ...  # noqa: D102

    @property
    def sequence_number(self) -> int: ...  # noqa: D102


def stored_content(check: ClaimCheck, data: bytes, expected: Placed) -> StoredContent:
    """Return the event's parts of a stored poison message or parked event.

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
        if found["body"] is None:
            raise body_lost(check, "holds the event without its body")
        content = StoredContent(
            found["body"],
            dict(found["properties"]),
            dict(found.get("system_properties", {})),
            _text(found, "key"),
            _text(found, "offset") or "",
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
    """Return the state of each message's body; of a blob only the beginning is read.

    Another app's blob may be in a container that this app does not know, so it is not looked up.
    """
    limit = asyncio.Semaphore(MAX_CONCURRENT_READS)

    async def state(message: PoisonMessage) -> BodyState:
        if message.claim_check is None:
            return BodyState.QUEUE
        if message.source.identity != own:
            return BodyState.OTHER_APP
        async with limit:
            return await _blob_state(message, message.claim_check, claims)

    return list(await asyncio.gather(*map(state, messages)))


async def _blob_state(message: PoisonMessage, check: ClaimCheck, claims: ClaimChecks) -> BodyState:
    try:
        if not _begins_with_body(await claims.get_bytes(check, BEGINNING_BYTES), message):
            # The blob of an earlier version, or one that has lost its body.
            stored_content(check, await claims.get_bytes(check), message)
    except StorageUnavailableError:
        return BodyState.UNKNOWN
    except BodyLostError:
        return BodyState.LOST
    return BodyState.BLOB


def _begins_with_body(data: bytes, expected: Placed) -> bool:
    """Return whether a blob certainly contains the event's body, by the blob's beginning."""
    # No text can contain this separator, because JSON escapes a text's quotation marks.
    fields, _, body = data.partition(b',"body":')
    try:
        _check_stored(json.loads(fields + b"}"), expected)
    except (ValueError, KeyError, TypeError):
        return False
    return body.startswith(b'"')


def body_lost(check: ClaimCheck, how: str = "is gone") -> BodyLostError:
    """Return the error for a blob that does not contain its event's body."""
    return BodyLostError(f"poison blob {check.container}/{check.blob} {how}")


def _check_stored(found: Mapping[str, Any], expected: Placed) -> None:
    if (version := found["version"]) not in READABLE:
        raise ValueError(f"it has version {version!r}")
    place = found["partition"], found["sequence_number"]
    if place != (expected.source.partition, expected.sequence_number):
        raise ValueError(f"it is event {place[1]} of partition {place[0]}")
    if "namespace" in found:  # 0.1 wrote no namespace; the names of its blobs name the app
        names = ("namespace", "hub", "consumer_group", "pipeline")
        app = Identity(*(str(found[name]) for name in names))
        if app != expected.source.identity:
            raise ValueError(f"it is an event of the app {app.app}")


def _text(found: Mapping[str, Any], name: str) -> str | None:
    value = found.get(name)
    return value if isinstance(value, str) else None


def _holds_something_else(check: ClaimCheck, why: object) -> BodyLostError:
    return body_lost(check, f"holds something else: {why}")
