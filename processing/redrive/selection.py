"""Which events an operator selects for a redrive, and what the redrive would do."""

from __future__ import annotations

from dataclasses import dataclass

from processing.event import Source
from processing.poison.message import PoisonMessage
from processing.poison.queue import has_id


@dataclass(frozen=True, slots=True)
class Selection:
    """What to redrive; everything if nothing is given.

    Attributes:
        key: events of this key.
        id: one poison message, by its id or what its id ends with after a "/". If its key is
            parked the whole key is replayed, for its order allows nothing else.
    """

    key: str | None = None
    id: str | None = None

    def matches(self, message: PoisonMessage) -> bool:
        """Whether the message is selected."""
        if self.key is not None:
            return message.key == self.key
        return self.id is None or has_id(message, self.id)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a redrive would replay: poison messages, and how many events wait in parked lists."""

    messages: tuple[PoisonMessage, ...]
    parked: dict[Place, int]

    @property
    def events(self) -> int:
        """All events; those that stand in the queue and in a parked list count once."""
        return sum(self.parked.values()) + sum(
            (message.source, message.key) not in self.parked for message in self.messages
        )


type Place = tuple[Source, str | None]
