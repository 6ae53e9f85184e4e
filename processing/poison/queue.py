"""The poison queue and its reader, which holds messages until they are removed or put back."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from processing.errors import StorageUnavailableError
from processing.poison.hold_clock import hold_time
from processing.poison.index.entry import IndexEntry
from processing.poison.message import PoisonMessage
from processing.poison.side_by_side import side_by_side

PUT_BACK_AT_ONCE = 32
HOST = "host"
"""Name of the host's storage account, if the app has an account of its own."""


class Refusal(StrEnum):
    """Why the message of an index entry could not be taken."""

    GONE = "gone"  # the queue has no such message
    HELD = "held"  # somebody else has received or changed the message


class Hold(Protocol):
    """A hold on a message; see `Received`."""

    name: str
    receipt: str
    where: str
    held_until: float
    gone: bool
    lock: asyncio.Lock


@dataclass(slots=True, eq=False, weakref_slot=True)
class Received:
    """A held message, which no other reader receives until its visibility timeout expires.

    Attributes:
        message: the message in the queue; a claim check if it is large.
        name, receipt: the queue's message id and pop receipt.
        where: the storage account; see `IndexEntry`.
        held_until: end of the visibility timeout by `hold_time`, counted from before the request.
        gone: whether the message was removed, or another reader received it after the timeout.
        lock: serializes the reader's calls, because each call makes the earlier receipt invalid.
    """

    message: PoisonMessage
    name: str
    receipt: str
    where: str = ""
    held_until: float = 0.0
    gone: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    def is_held_for(self, seconds: float) -> bool:
        """Return whether no other reader can receive the message for so long."""
        return not self.gone and hold_time() + seconds < self.held_until


class PoisonReader(Protocol):
    """A reader of a poison queue.

    Each method raises `StorageUnavailableError` if the queue fails. For a message that is gone, a
    method only sets `gone`.

    Attributes:
        hold_seconds: visibility timeout of a received message, until it is renewed.
        unreadable: names of the messages that the reader has received and could not read.
    """

    hold_seconds: float

    @property
    def unreadable(self) -> Collection[str]:
        """See above."""
        ...

    async def receive(self) -> list[Received]:
        """Return some messages that no reader holds; an empty list if there are no more.

        Several calls may run at the same time.
        """
        ...

    async def take(self, entry: IndexEntry) -> Received | Refusal:
        """Hold the message of an index entry, if nobody has received or changed it since.

        Raises:
            ValueError: the entry is not whole, so that the message is unknown.
        """
        ...

    async def count(self) -> int:
        """Return the approximate number of messages, also of those that readers hold."""
        ...

    async def renew(self, held: Hold) -> None:
        """Renew a message's visibility timeout for another `hold_seconds`."""
        ...

    async def update(self, received: Received, message: PoisonMessage) -> None:
        """Replace a message, and renew its visibility timeout."""
        ...

    async def put_back(self, held: Hold) -> None:
        """End the visibility timeout, so that other readers receive the message unchanged."""
        ...

    async def remove(self, held: Hold) -> bool:
        """Delete a message from the queue; the blob of its claim check stays.

        Returns:
            Whether the message was deleted now. Otherwise another reader may hold the message.
        """
        ...


async def put_back(reader: PoisonReader, held: Sequence[Received]) -> None:
    """Put messages back; if the queue fails, their visibility timeouts expire."""

    async def one(received: Received) -> None:
        with suppress(StorageUnavailableError):
            await reader.put_back(received)

    await side_by_side(held, one, most=PUT_BACK_AT_ONCE)


def oldest_first(messages: Iterable[PoisonMessage]) -> list[PoisonMessage]:
    """Return one message per app and event, in the order in which the hub enqueued the events.

    Two apps that read one hub may have poisoned the same event; its id is the same then.
    """
    unique = {(message.source, message.id): message for message in messages}.values()
    return sorted(unique, key=lambda message: (message.enqueued_ms, message.sequence_number))


def has_id(message: PoisonMessage, text: str) -> bool:
    """Return whether the text is the message's id, or the end of the id after a "/"."""
    return f"/{message.id}".endswith(f"/{text}")


class PoisonQueue(Protocol):
    """A durable queue of poison messages."""

    async def put(self, message: PoisonMessage) -> None:
        """Store a message durably. A repeat is safe, because the message keeps its id.

        Raises:
            StorageUnavailableError: the queue or the blob container did not store the message.
        """
        ...
