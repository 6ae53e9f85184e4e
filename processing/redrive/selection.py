"""The selection of events for a redrive, and the plan of a dry run."""

from __future__ import annotations

from dataclasses import dataclass

from processing.identity import Source
from processing.poison.message import PoisonMessage
from processing.poison.queue import has_id


@dataclass(frozen=True, slots=True)
class Selection:
    """A selection of events; without a key and an id, all events.

    Attributes:
        key: selects the events of this key.
        id: selects one poison message by its id, or by the end of the id after a "/". If the
            message's key is parked, the whole key is replayed, because its events must stay in
            order.
    """

    key: str | None = None
    id: str | None = None

    def matches(self, message: PoisonMessage) -> bool:
        """Return whether the message is selected."""
        if self.key is not None:
            return message.key == self.key
        return self.id is None or has_id(message, self.id)


@dataclass(frozen=True, slots=True)
class Plan:
    """The events that a redrive would replay.

    Attributes:
        messages: the poison messages, oldest first.
        parked: number of entries in the parked list of each selected key.
    """

    messages: tuple[PoisonMessage, ...]
    parked: dict[Place, int]

    @property
    def events(self) -> int:
        """The number of events; an event in both the queue and a parked list counts once."""
        return sum(self.parked.values()) + sum(
            (message.source, message.key) not in self.parked for message in self.messages
        )


type Place = tuple[Source, str | None]
