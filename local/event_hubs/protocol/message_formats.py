"""The message format of the current transfer, which Proton does not report.

Only the first transfer of a delivery must name the format; later transfers inherit the format.
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
    """The message formats of the unfinished deliveries of one connection.

    Attributes:
        current: the format of the last recorded transfer; 0 before the first transfer.
    """

    def __init__(self) -> None:
        self.current = 0
        self._by_link: dict[tuple[int, int], int] = {}

    def record(self, frame: Frame) -> None:
        """Record the message format that a frame names.

        Raises:
            AmqpError: `amqp:decode-error`, the frame is malformed.
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
