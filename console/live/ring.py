"""The last messages in memory, each encoded once however many browsers get it."""

from __future__ import annotations

from collections.abc import Iterable

from console.backplane.stream import START, Message

FRAME_ITEMS = 500


class Ring:
    """Messages by their position, which only rises; the oldest fall off.

    Attributes:
        first: position of the oldest message that is here.
        end: position that the next message will have.
        cursor: of the last message, or None.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._items: list[tuple[str, str]] = []  # cursor, and how it is sent ("": not at all)
        self._behind: dict[str, int] = {}
        self._frames: dict[int, tuple[str, int]] = {}
        self.first = 0
        self.end = 0
        self.cursor: str | None = None

    def extend(self, messages: Iterable[Message]) -> None:
        """Add messages."""
        for message in messages:
            self._items.append((message.cursor, _encoded(message)))
            self.end += 1
            self._behind[message.cursor] = self.end
            self.cursor = message.cursor
        if len(self._items) > 2 * self._most:  # now and then, so that it costs next to nothing
            gone = len(self._items) - self._most
            for cursor, _ in self._items[:gone]:
                del self._behind[cursor]
            del self._items[:gone]
            self.first += gone
        self._frames.clear()

    def behind(self, cursor: str) -> int | None:
        """The position behind a cursor; None when it is not here (any more)."""
        return self._behind.get(cursor)

    def frame(self, position: int) -> tuple[str, int]:
        """What a browser at a position gets next ("" for nothing), and its position then.

        Bounded, so that what waits for a slow browser is as well.
        """
        found = self._frames.get(position)
        if found is None:
            start = position - self.first
            some = self._items[start : start + FRAME_ITEMS]
            sent = ",".join([text for _, text in some if text])
            text = f'{{"type":"messages","items":[{sent}]}}' if sent else ""
            found = self._frames[position] = (text, position + len(some))
        return found


def _encoded(message: Message) -> str:
    if message.kind == START:
        return ""
    return f'{{"cursor":"{message.cursor}","kind":"{message.kind}","data":{message.data}}}'
