"""A held message of which a redrive needs no body any more."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from processing.identity import Source
from processing.poison.queue import Received


@dataclass(slots=True, eq=False)
class LeftMessage:
    """A message that the redrive does not try, or not again; see `Received`.

    Attributes:
        verdict: the partition and the verdict of a parked event's message, else None; the message
            is stale if the event has been replayed with its key.
    """

    name: str
    receipt: str
    where: str
    held_until: float
    verdict: tuple[Source, str] | None = None
    gone: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)


def left_message(each: Received) -> LeftMessage:
    """Return a held message without its body."""
    message = each.message
    verdict = (message.source, message.verdict) if message.parked else None
    return LeftMessage(each.name, each.receipt, each.where, each.held_until, verdict)
