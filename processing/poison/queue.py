"""The poison queue and its reader, which holds messages until they are removed or put back."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from processing.errors import ProcessingError, StorageUnavailableError
from processing.identity import Identity
from processing.poison.hold_clock import hold_time
from processing.poison.index.entry import IndexEntry
from processing.poison.message import PoisonMessage
from processing.poison.other_apps import is_own, refusal
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


async def browse(reader: PoisonReader) -> list[PoisonMessage]:
    """Return all messages that no reader holds, one per event, oldest first.

    The messages are held until all of them are read, and then put back: peeking at a queue returns
    only its first 32 messages.

    Raises:
        StorageUnavailableError: the queue cannot be read.
    """
    return oldest_first(await browse_copies(reader))


async def browse_copies(reader: PoisonReader) -> list[PoisonMessage]:
    """Return all messages that no reader holds, also several messages of one event.

    Raises:
        StorageUnavailableError: the queue cannot be read.
    """
    held: list[Received] = []
    try:
        while some := await reader.receive():
            held += some
    finally:
        await put_back(reader, held)
    return [each.message for each in held]


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


async def find(
    reader: PoisonReader, text: str, own: Identity, *, to_read: bool = False
) -> PoisonMessage:
    """Return the app's message that has the id (see `has_id`); see `find_copies`."""
    return (await find_copies(reader, text, own, to_read=to_read))[0]


async def find_copies(
    reader: PoisonReader, text: str, own: Identity, *, to_read: bool = False
) -> list[PoisonMessage]:
    """Return all messages of the app's event that has the id (see `has_id`).

    A large message is a claim check. An event that was poisoned again has several messages.

    Args:
        reader: reads the queue.
        text: the id, or the end of the id after a "/".
        own: the app.
        to_read: also return another app's message if the app itself has none with the id.

    Raises:
        OtherAppError: only another app has a message with the id.
        ProcessingError: no message has the id, or several messages do.
        StorageUnavailableError: the queue cannot be read.
    """
    copies = [message for message in await browse_copies(reader) if has_id(message, text)]
    return copies_of_one(copies, text, own, to_read=to_read)


def copies_of_one(
    copies: Sequence[PoisonMessage], text: str, own: Identity, *, to_read: bool = False
) -> list[PoisonMessage]:
    """Return the messages of the one event that has an id; raises as `find_copies` does.

    Args:
        copies: all messages whose event has the id.
        text: the id, or the end of the id after a "/".
        own: the app.
        to_read: see `find_copies`.
    """
    named = oldest_first(copies)
    found = [message for message in named if is_own(message, own)]
    if named and not found:
        if not to_read:
            raise refusal(named[0], own)
        found = named
    if not found:
        raise ProcessingError(
            f"no poison message with the id {text!r} is in the queue; `poison list` lists the ids"
        )
    if len(found) > 1:
        ids = "".join(f"\n  {message.id} of {message.source.identity.app}" for message in found)
        raise ProcessingError(
            f"{len(found)} poison messages have an id that ends with {text!r}; give a longer part "
            f"of the id:{ids}"
        )
    event = found[0].source, found[0].id
    return [message for message in copies if (message.source, message.id) == event]


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
