"""The number of an app's messages in a poison queue that other apps may use, too."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.queue.aio import QueueClient

from processing.identity import Identity
from processing.poison.message import PoisonMessage
from processing.poison.other_apps import is_own

MOST_PEEKED = 32
"""The service's limit; a peek hides no message from other readers."""


@dataclass(frozen=True, slots=True)
class PoisonCount:
    """The number of messages in a poison queue.

    Attributes:
        total: approximate number of all messages, also of those that a reader holds.
        of_others: number of messages of other apps among those that were looked at.
        is_whole: whether every message that no reader holds was looked at.
    """

    total: int
    of_others: int = 0
    is_whole: bool = True

    def __add__(self, other: PoisonCount) -> PoisonCount:
        """Return the count of two queues."""
        return PoisonCount(
            self.total + other.total,
            self.of_others + other.of_others,
            self.is_whole and other.is_whole,
        )

    @property
    def own(self) -> int:
        """The number of the app's own messages; too high if not every message was looked at."""
        return max(0, self.total - self.of_others)


async def poison_count(queue: QueueClient, own: Identity) -> PoisonCount | None:
    """Return the number of messages in a poison queue; None if the queue cannot be read.

    A message that is not a poison message counts as the app's own: an operator must look at it.

    Args:
        queue: a client that does not decode messages.
        own: the app.
    """
    try:
        total = (await queue.get_queue_properties()).approximate_message_count or 0
        if not total:
            return PoisonCount(0)
        peeked = await queue.peek_messages(max_messages=MOST_PEEKED)
    except ResourceNotFoundError:  # the first poison message creates the queue
        return PoisonCount(0)
    except AzureError:
        return None
    others = sum(_is_other(each.content, own) for each in peeked)
    return PoisonCount(max(total, len(peeked)), others, len(peeked) < MOST_PEEKED)


def _is_other(content: str, own: Identity) -> bool:
    try:
        text = base64.b64decode(content, validate=True)
        return not is_own(PoisonMessage.from_json(text, namespace=own.namespace), own)
    except (binascii.Error, ValueError):
        return False
