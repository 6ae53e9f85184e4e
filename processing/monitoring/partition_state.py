"""The state of a partition: whether it continues, and if it does not, why and since when."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, NamedTuple, Self

from processing.event import Event
from processing.monitoring.reasons import Why, todo


class State(StrEnum):
    """The state of a partition."""

    OK = "ok"  # the partition continues, or has nothing to do
    SLOW = "slow"  # one call of the handler runs long, within its time limit
    HOLDING = "holding"  # an open circuit or an isolation holds the partition
    PAUSED = "paused"  # an operator paused the partition
    STALLED = "stalled"  # the first unfinished event has not changed for `stall_seconds`


GRAVITY = {state: number for number, state in enumerate(State)}
"""The order of the states; a later state is worse."""


class Place(NamedTuple):
    """The place of an event, without its content."""

    sequence_number: int
    enqueued_ms: int
    key: str | None

    @classmethod
    def of(cls, event: Event) -> Self:
        """Return an event's place."""
        return cls(event.sequence_number, event.enqueued_ms, event.key)


@dataclass(frozen=True, slots=True)
class PartitionState:
    """The state of one partition, or of one deferred key.

    Attributes:
        hub, partition: the partition.
        state: see `State`.
        seconds: time for which the first unfinished event, or the deferral, has not changed.
        sequence_number: sequence number of the first unfinished event; None: it is not known.
        key_hash: hash of the event's key; "" without a key.
        why: the reason; None: a call of the handler runs, or the state is `ok`.
        reason: type and message of the last error, or a text; may be empty.
        deferred: the state is that of a deferred key, not of the first unfinished event.
        instance: the instance that reports; "" if no instance does.
    """

    hub: str
    partition: str
    state: State
    seconds: float
    sequence_number: int | None = None
    key_hash: str = ""
    why: Why | None = None
    reason: str = ""
    deferred: bool = False
    instance: str = ""

    @property
    def todo(self) -> str:
        """One sentence: the operator's response."""
        return "" if self.why is None else todo(self.why, self.partition)

    @property
    def event(self) -> str:
        """The event's place as text: hub, partition, sequence number and key hash."""
        number = "?" if self.sequence_number is None else self.sequence_number
        key = f" (key hash {self.key_hash})" if self.key_hash else ""
        return f"{self.hub}/{self.partition}/{number}{key}"

    @property
    def explanation(self) -> str:
        """The reason and the last error."""
        why = "a call of the handler runs" if self.why is None else self.why.value
        return f"{why}: {self.reason}" if self.reason else why

    @property
    def line(self) -> str:
        """One line for an operator: the event, the time, the reason and the response."""
        subject = "its first unfinished event waits"
        if self.deferred:
            subject = "a deferred key waits"
        elif self.why is Why.RECREATED:  # the recreated hub may be empty
            subject = "its recreated hub waits for a decision"
        return (
            f"Partition {self.partition} is {self.state}: {subject} for {self.seconds:.0f} s; "
            f"event {self.event}; {self.explanation}. {self.todo}"
        ).rstrip()

    def to_json(self) -> dict[str, Any]:
        """Return the state as a dictionary, with the operator's response."""
        return asdict(self) | {"event": self.event, "todo": self.todo}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        """Parse a state.

        Raises:
            ValueError, TypeError: the dictionary is not a state.
        """
        names = {each.name for each in fields(cls)}
        values = {name: value for name, value in found.items() if name in names}
        values["state"] = State(str(values.get("state")))
        values["why"] = Why(values["why"]) if values.get("why") else None
        return cls(**values)
