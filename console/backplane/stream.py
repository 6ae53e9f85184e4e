"""The backplane: one ordered stream of messages that every instance of the console reads.

A message's cursor is its position in the stream. Any instance can send a browser exactly the
messages after a cursor, as long as the stream still has that message. docs/adr/0010-backplane.md
gives the reasons for a Redis stream.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from console.backplane.coordination import READER, Coordination
from console.errors import NotReaderError

START = "start"
"""Kind of the first message of an empty stream, which gives the stream a first cursor."""
LOG = "log"
"""Kind of the incident log's lines, which are kept longer than the stream's other messages."""

type Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `data` is JSON."""

    cursor: str
    kind: str
    data: str


class Backplane(Protocol):
    """Ordered stream of messages; each method raises `BackplaneError` when the stream fails."""

    async def publish(
        self, messages: Sequence[tuple[str, Document]], *, reader: str = ""
    ) -> list[str]:
        """Append messages, all or none, and return their cursors.

        Args:
            messages: kind and data of each message.
            reader: the elected reader's token, if only the elected reader may publish; else "".

        Raises:
            NotReaderError: another token holds the reader's lease.
        """
        ...

    async def read(self, after: str, count: int) -> list[Message]:
        """Return the next messages after a cursor; wait for a message, at most a second."""
        ...

    async def has(self, cursor: str) -> bool:
        """Return whether the stream still has this message, and so all messages after it."""
        ...

    async def latest(self, count: int) -> list[Message]:
        """Return the last messages, oldest first."""
        ...

    async def log(self, before: str, count: int) -> list[Message]:
        """Return the last log lines before a cursor, oldest first."""
        ...


def order(cursor: str) -> tuple[int, int]:
    """Return the sort key of a cursor.

    Raises:
        ValueError: the text is not a cursor.
    """
    milliseconds, dash, number = cursor.partition("-")
    if not (dash and milliseconds.isdecimal() and number.isdecimal() and len(cursor) <= 41):
        raise ValueError(f"{cursor[:50]!r} is not a cursor; it takes milliseconds-number")
    return int(milliseconds), int(number)


def encode(data: Document) -> str:
    """Return data as the JSON text of a message."""
    return json.dumps(data, separators=(",", ":"))


class MemoryBackplane:
    """Backplane in memory, for tests and for one instance without Redis.

    Args:
        coordination: holds the reader's lease.
        most: number of messages to keep.
        wait_seconds: how long `read` waits for a message.
    """

    def __init__(
        self, coordination: Coordination, *, most: int = 20_000, wait_seconds: float = 1.0
    ) -> None:
        self._coordination = coordination
        self._most = most
        self._wait = wait_seconds
        self._messages: list[Message] = []
        self._log: list[Message] = []
        self._last = (0, 0)
        self._grown = asyncio.Event()

    async def publish(
        self, messages: Sequence[tuple[str, Document]], *, reader: str = ""
    ) -> list[str]:
        """See `Backplane.publish`."""
        if reader and await self._coordination.holder(READER) != reader:
            raise NotReaderError
        cursors = []
        for kind, data in messages:
            now = time.time_ns() // 1_000_000
            milliseconds, number = self._last
            self._last = (now, 0) if now > milliseconds else (milliseconds, number + 1)
            message = Message("{}-{}".format(*self._last), kind, encode(data))
            self._messages.append(message)
            if kind == LOG:
                self._log.append(message)
            cursors.append(message.cursor)
        del self._messages[: -self._most]
        self._grown.set()
        self._grown = asyncio.Event()
        return cursors

    async def read(self, after: str, count: int) -> list[Message]:
        """See `Backplane.read`."""
        grown = self._grown
        if not (found := self._behind(after, count)):
            try:
                await asyncio.wait_for(grown.wait(), self._wait)
            except TimeoutError:
                return []
            found = self._behind(after, count)
        return found

    async def has(self, cursor: str) -> bool:
        """See `Backplane.has`."""
        return any(each.cursor == cursor for each in self._messages)

    async def latest(self, count: int) -> list[Message]:
        """See `Backplane.latest`."""
        return self._messages[-count:]

    async def log(self, before: str, count: int) -> list[Message]:
        """See `Backplane.log`."""
        place = order(before)
        return [each for each in self._log if order(each.cursor) < place][-count:]

    def _behind(self, after: str, count: int) -> list[Message]:
        place = order(after)
        return [each for each in self._messages if order(each.cursor) > place][:count]
