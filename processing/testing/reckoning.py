"""The reckoning of a run: what became of each event, from the record and the stores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from processing.event import Event
from processing.parking.event import position_of
from processing.parking.store import EntryKind
from processing.poison.message import PoisonMessage
from processing.testing.hub import MemoryHub
from processing.testing.instance import Instance
from processing.testing.outcome import EventOutcome, Outcome, State, text_of
from processing.testing.record import Record
from processing.testing.stores import Stores

_MOST = 1_000_000


@dataclass(frozen=True, slots=True)
class Before:
    """The state before a run.

    Attributes:
        events: the events that the run passes.
        calls: number of calls before the run.
        poisoned: number of poison messages before the run.
    """

    events: Sequence[Event]
    calls: int
    poisoned: int

    @classmethod
    def of(cls, record: Record, stores: Stores, events: Sequence[Event]) -> Self:
        """Note the state before a run."""
        return cls(events, len(record.calls), len(stores.poison.messages))


async def outcome_since(
    before: Before,
    *,
    record: Record,
    stores: Stores,
    hub: MemoryHub,
    instance: Instance,
    errors: list[Exception],
    seconds: float,
) -> Outcome:
    """Return the outcome of the run that has ended now."""
    calls = record.calls[before.calls :]
    handled = [event for call in calls if call.error is None for event in call.events]
    messages = stores.poison.messages[before.poisoned :]
    poisoned = [record.events[message.id] for message in messages if message.id in record.events]
    deferred, parked, whys = await _listed(record, stores)
    states: dict[str, State] = {}
    groups: tuple[tuple[State, Sequence[Event]], ...] = (
        ("handled", handled),
        ("poisoned", poisoned),
        ("deferred", deferred),
        ("parked", parked),
    )
    for state, events in groups:
        states |= dict.fromkeys((event.id for event in events), state)
    finished = record.finished | {message.id for message in stores.poison.messages}
    kept = [
        event for event in hub.unfinished() if event.id not in states and event.id not in finished
    ]
    states |= dict.fromkeys((event.id for event in kept), "kept")
    skipped = [event for event in _unique(before.events) if event.id not in states]
    states |= dict.fromkeys((event.id for event in skipped), "skipped")
    for message in messages:
        whys[message.id] = _why(message)
    ended = errors[-1] if errors else None
    found = {
        event_id: _event_outcome(record, event_id, state, whys.get(event_id, ""), ended)
        for event_id, state in sorted(states.items(), key=_order(record))
    }
    circuits = instance.dependencies.circuits
    return Outcome(
        handled=handled,
        poisoned=poisoned,
        deferred=deferred,
        parked=parked,
        kept=kept,
        skipped=skipped,
        calls=calls,
        circuit=(await instance.breaker.refresh()).state,
        circuits={name: each.circuit.state for name, each in circuits.items()},
        errors=errors,
        seconds=seconds,
        _events=found,
    )


async def _listed(
    record: Record, stores: Stores
) -> tuple[list[Event], list[Event], dict[str, str]]:
    """Return the deferred and the parked events, and the errors of the deferred ones by id."""
    at = {(event.source, position_of(event)): event for event in record.events.values()}
    deferred: list[Event] = []
    parked: list[Event] = []
    whys: dict[str, str] = {}
    for listed in await stores.lists.keys():
        entries = await stores.lists.entries(listed.source, listed.key, most=_MOST)
        waiting = [
            event
            for entry in entries
            if entry.kind is EntryKind.EVENT
            and (event := at.get((listed.source, entry.position))) is not None
        ]
        if listed.deferral is not None and waiting:
            whys[waiting[0].id] = listed.deferral.error
            deferred.append(waiting.pop(0))
        parked += waiting
    order = _order(record)
    deferred.sort(key=lambda event: order((event.id, "")))
    parked.sort(key=lambda event: order((event.id, "")))
    return deferred, parked, whys


def _event_outcome(
    record: Record, event_id: str, state: State, why: str, ended: Exception | None
) -> EventOutcome:
    error: Exception | None = None
    if state not in ("handled", "skipped", "parked"):
        error = record.errors.get(event_id) or ended
    if not why and error is not None:
        why = text_of(error)
    attempts = record.attempts[event_id]
    return EventOutcome(record.events[event_id], state, attempts, error, why)


def _order(record: Record) -> Callable[[tuple[str, str]], int]:
    """Return a sort key: the order in which the app received the events."""
    numbers = {event_id: number for number, event_id in enumerate(record.events)}
    return lambda item: numbers[item[0]]


def _why(message: PoisonMessage) -> str:
    return f"{message.error.type}: {message.error.message}"


def _unique(events: Sequence[Event]) -> Iterable[Event]:
    return {event.id: event for event in events}.values()
