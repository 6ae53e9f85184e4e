"""One message of the poison queue, as the index knows it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from processing.formats.cut import beginning
from processing.frozen import EMPTY
from processing.identity import Source
from processing.poison.message import PoisonMessage

TEXT_BYTES = 8 * 1024
"""Longest message that the index repeats, in bytes of compressed JSON."""
SHORT_BYTES = 1024
"""Longest text of an error in an entry that is not whole, in bytes of JSON."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why events were poisoned; the counts of the queue are by cause.

    Attributes:
        error: the error's dotted type.
        handler: the handler's name.
    """

    error: str
    handler: str


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A message of the queue.

    Attributes:
        name: the queue's message id; it contains no ":".
        receipt: the latest pop receipt that this app knows. A call with this receipt succeeds only
            if nobody has received or changed the message since, so `message` is then what the
            queue contains.
        where: the storage account: "" for the app's, "host" for the host's.
        message: the message as the queue contains it; a claim check if it is large. Its body is
            None if `is_whole` is false.
        is_whole: whether `message` is complete. The index leaves out the body, the properties and
            the traceback of a message that is longer than `TEXT_BYTES` when it is compressed, and
            of any message once its budget of memory is used up.
    """

    name: str
    receipt: str
    message: PoisonMessage
    where: str = ""
    is_whole: bool = True

    @property
    def source(self) -> Source:
        """The partition of the event."""
        return self.message.source

    @property
    def order(self) -> tuple[int, int]:
        """The event's place among the events of its partition: time in milliseconds, and number."""
        return self.message.enqueued_ms, self.message.sequence_number

    @property
    def place(self) -> str:
        """The entry's place among all entries: text that sorts by `order` and then by name."""
        enqueued_ms, number = self.order
        return f"{enqueued_ms:015d}:{number:020d}:{self.name}"

    @property
    def place_in_key(self) -> str:
        """The entry's place among those of its key: text that sorts by partition and `place`."""
        return f"{self.message.partition}/{self.place}"

    @property
    def cause(self) -> Cause:
        """Why the event was poisoned."""
        return Cause(self.message.error.type, self.message.handler)

    def with_receipt(self, receipt: str) -> Self:
        """Return the entry with a later receipt."""
        return replace(self, receipt=receipt)

    def shortened(self) -> Self:
        """Return the entry without the message's long texts; a claim check has none."""
        message = self.message
        error = replace(
            message.error,
            message=beginning(message.error.message, SHORT_BYTES),
            traceback="",
            frames=message.error.frames[-1:],
        )
        short = replace(message, body=None, properties=EMPTY, system_properties=EMPTY, error=error)
        return replace(self, message=short, is_whole=False)
