"""Ring buffer of the last messages, each encoded once for all browsers."""

from __future__ import annotations

from collections.abc import Iterable

from console.backplane.stream import START, Message

FRAME_ITEMS = 500


class Ring:
    """The last messages by position; positions only rise, and the oldest messages are dropped.

    Attributes:
        first: position of the oldest message in the ring.
        end: position of the next message.
        cursor: cursor of the last message, or None.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._items: list[tuple[str, str]] = []  # cursor, encoded message ("": not sent)
        self._behind: dict[str, int] = {}
        self._frames: dict[int, tuple[str, int]] = {}
        self.first = 0
        self.end = 0
        self.cursor: str | None = None

    def extend(self, messages: Iterable[Message]) -> None:
        """Append messages and drop the oldest."""
        for message in messages:
            self._items.append((message.cursor, _encoded(message)))
            self.end += 1
            self._behind[message.cursor] = self.end
            self.cursor = message.cursor
        if len(self._items) > 2 * self._most:  # rarely, so that dropping is cheap
            gone = len(self._items) - self._most
            for cursor, _ in self._items[:gone]:
                del self._behind[cursor]
            del self._items[:gone]
            self.first += gone
        self._frames.clear()

    def behind(self, cursor: str) -> int | None:
        """Return the position after a cursor, or None when the ring does not have the cursor."""
        return self._behind.get(cursor)

    def frame(self, position: int) -> tuple[str, int]:
        """Return the next frame for a browser at a position, and the browser's position after it.

        The frame is "" when there is nothing to send. A frame has at most `FRAME_ITEMS` messages,
        which bounds the data that waits for a slow browser.
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
