"""The message format of the transfer at hand, which Proton does not tell.

Only a delivery's first transfer has to name it; it holds for the rest of the delivery.
"""

from __future__ import annotations

from local.event_hubs.protocol.frames import (
    DETACH,
    END,
    TRANSFER,
    Frame,
    link_handle,
    message_format,
)


class MessageFormats:
    """The formats that the links of one connection are in the middle of.

    Attributes:
        current: that of the last transfer noted; 0 before one.
    """

    def __init__(self) -> None:
        self.current = 0
        self._by_link: dict[tuple[int, int], int] = {}

    def note(self, frame: Frame) -> None:
        """Take a frame in.

        Raises:
            AmqpError: `amqp:decode-error`.
        """
        if frame.code == TRANSFER:
            handle, found = message_format(frame)
            if found is not None:
                self._by_link[frame.channel, handle] = found
            self.current = self._by_link.get((frame.channel, handle), 0)
        elif frame.code == DETACH:
            self._by_link.pop((frame.channel, link_handle(frame)), None)
        elif frame.code == END:
            for key in [key for key in self._by_link if key[0] == frame.channel]:
                del self._by_link[key]
