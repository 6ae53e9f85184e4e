"""Reading the poison queue: messages are held, not taken, until they are removed or put back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from processing.errors import ProcessingError
from processing.poison.message import PoisonMessage


@dataclass(slots=True, eq=False)
class Received:
    """A message that is held: nobody else receives it.

    Attributes:
        message: as it stands in the queue; a claim check if it is large.
        name, receipt: the queue's own.
        gone: removed, or the hold ran out and the message is somebody else's.
        lock: taken by the reader, for each act makes the receipt of the one before void.
    """

    message: PoisonMessage
    name: str
    receipt: str
    gone: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)


class PoisonReader(Protocol):
    """Reads a poison queue. Each method raises `StorageUnavailableError` when it is not done; on a
    message that is gone they do nothing but set `gone`.

    Attributes:
        hold_seconds: how long a message is held unless its hold is renewed.
    """

    hold_seconds: float

    async def receive(self) -> list[Received]:
        """Some messages that nobody holds; none when there are none (left)."""
        ...

    async def renew(self, received: Received) -> None:
        """Hold a message for another `hold_seconds`."""
        ...

    async def update(self, received: Received, message: PoisonMessage) -> None:
        """Change a message, and hold it on."""
        ...

    async def put_back(self, received: Received) -> None:
        """Let others receive the message."""
        ...

    async def remove(self, received: Received) -> None:
        """Remove a message for good; what its claim check stands for stays."""
        ...


async def browse(reader: PoisonReader) -> list[PoisonMessage]:
    """All messages that nobody holds, as they stand in the queue, each event's once, oldest first.

    They are held for the moment that it takes to read them all: a queue shows no more than its
    first 32 messages to somebody who only looks.

    Raises:
        StorageUnavailableError: the queue can't be read.
    """
    held: list[Received] = []
    try:
        while some := await reader.receive():
            held += some
    finally:
        for each in held:
            await reader.put_back(each)
    return oldest_first(each.message for each in held)


def oldest_first(messages: Iterable[PoisonMessage]) -> list[PoisonMessage]:
    """Return each event's message once, in the order in which the hub took the events."""
    unique = {message.id: message for message in messages}.values()
    return sorted(unique, key=lambda message: (message.enqueued_ms, message.sequence_number))


async def find(reader: PoisonReader, text: str) -> PoisonMessage:
    """Return the message that has the id (see `has_id`); its claim check, if it is large.

    Raises:
        ProcessingError: there is none, or more than one.
        StorageUnavailableError: the queue can't be read.
    """
    found = [message for message in await browse(reader) if has_id(message, text)]
    if not found:
        raise ProcessingError(f"no poison message with the id {text!r}")
    if len(found) > 1:
        ids = "".join(f"\n  {message.id}" for message in found)
        raise ProcessingError(f"{len(found)} poison messages with the id {text!r}{ids}")
    return found[0]


def has_id(message: PoisonMessage, text: str) -> bool:
    """Whether the text is the message's id, or what it ends with after a "/"."""
    return f"/{message.id}".endswith(f"/{text}")


class PoisonQueue(Protocol):
    """Takes poison messages durably."""

    async def put(self, message: PoisonMessage) -> None:
        """Returns once the message is durable. Repeat-safe: the id stays the same.

        Raises:
            StorageUnavailableError: the queue or the blob container did not take it.
        """
        ...
