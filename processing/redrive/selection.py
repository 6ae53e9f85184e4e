"""The selection of events for a redrive, and the plan of a dry run."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from processing.event import event_id
from processing.identity import Source
from processing.parking.event import ListKey, Lone, Position, position_of
from processing.parking.store import ParkedKey, ParkingStore
from processing.poison.message import PoisonMessage
from processing.poison.queue import has_id

type Place = tuple[Source, ListKey]


@dataclass(frozen=True, slots=True)
class Selection:
    """A selection of events; without a key and an id, all events except the deferred ones.

    Attributes:
        key: selects the events of this key, also if the key is deferred.
        id: selects one event by its id, or by the end of the id after a "/": a poison message, or
            the first event of a list without a key. If the message's key has a list, the whole key
            is replayed, because its events must stay in order.
    """

    key: str | None = None
    id: str | None = None

    @property
    def is_named(self) -> bool:
        """Return whether a key or an event is named; only then deferred keys are replayed."""
        return self.key is not None or self.id is not None

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
        deferred: number of events in the list of each deferred key that is selected by name.
        left_alone: number of events in the list of each deferred key that is not replayed.
        loose: number of poison messages whose event is in no list.
        other_apps: number of selected messages of each other app, which are left alone.
    """

    messages: tuple[PoisonMessage, ...]
    parked: dict[Place, int]
    deferred: dict[Place, int] = field(default_factory=dict)
    left_alone: dict[Place, int] = field(default_factory=dict)
    loose: int = 0
    other_apps: Mapping[str, int] = field(default_factory=dict)

    @property
    def lists(self) -> dict[Place, int]:
        """The lists that would be replayed, each with its number of entries."""
        return {**self.parked, **self.deferred}

    @property
    def events(self) -> int:
        """The number of events; an event in both the queue and a list counts once."""
        return sum(self.lists.values()) + self.loose


async def selects(selection: Selection, parked: ParkedKey, store: ParkingStore) -> bool:
    """Return whether a list is selected by its own name, and not only by a poison message.

    Raises:
        StorageUnavailableError: the store did not answer.
    """
    if not selection.is_named:
        return parked.deferral is None
    if selection.id is None:
        return parked.key == selection.key
    positions: list[Position] = []
    if isinstance(parked.key, Lone):
        positions = [parked.key.position]
    elif parked.key is None:
        # The other events without a key have no other name than the id of the first one.
        entries = await store.entries(parked.source, None, most=1)
        positions = [entry.position for entry in entries]
    ids = [id_at(parked.source, position) for position in positions]
    return any(f"/{each}".endswith(f"/{selection.id}") for each in ids)


def place_of(message: PoisonMessage, lists: Container[Place]) -> Place:
    """Return the place of the list that contains the message's event, if one does.

    Args:
        message: a poison message.
        lists: the places of all lists.
    """
    lone = (message.source, Lone(position_of(message)))
    is_lone = message.key is None and lone in lists
    return lone if is_lone else (message.source, message.key)


def id_at(source: Source, position: Position) -> str:
    """Return the id of the event at a position of a partition."""
    enqueued_ms, _, sequence_number = position.partition(":")
    return event_id(source, int(sequence_number), int(enqueued_ms))
