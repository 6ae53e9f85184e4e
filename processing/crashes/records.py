"""Records of crash loops: the openings of a partition, and the events that ran alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from processing.crashes.process import ProcessName
from processing.parking.event import Position


@dataclass(frozen=True, slots=True)
class Opening:
    """One opening of a batch by a process; a clean end removes the record.

    Attributes:
        at: time of the claim, microseconds since 1970 by the store's clock.
        process: the process that opened the batch.
        first, last: the least and the greatest sequence number of the batch.
        instance: the name of the instance in logs.
    """

    at: int
    process: ProcessName
    first: int
    last: int
    instance: str = ""

    @classmethod
    def parse(cls, line: str) -> Self:
        """Return the opening that `claim.lua` stored.

        Raises:
            ValueError: the line is no opening, or has the form of a newer version.
        """
        at, process, first, last, *instance = line.split(" ")
        name = instance[0] if instance else ""
        return cls(int(at), ProcessName.parse(process), int(first), int(last), name)

    def includes(self, sequence_number: int) -> bool:
        """Return whether the batch contained an event."""
        return self.first <= sequence_number <= self.last


@dataclass(frozen=True, slots=True)
class AloneRun:
    """One run of an event in careful mode; the end of the call removes the record.

    Attributes:
        position: the event's position.
        process: the process.
        began: start of the call, microseconds since 1970 by the store's clock.
        alive: the last sign of life during the call, in the same unit.
    """

    position: Position
    process: ProcessName
    began: int
    alive: int

    @classmethod
    def parse(cls, line: str) -> Self:
        """Return the run that `alone.lua` stored.

        Raises:
            ValueError: the line is no run, or has the form of a newer version.
        """
        position, process, began, alive = line.split(" ")[:4]
        return cls(position, ProcessName.parse(process), int(began), int(alive))

    @property
    def seconds(self) -> float:
        """The time for which the call is known to have run."""
        return max(0.0, (self.alive - self.began) / 1e6)


@dataclass(frozen=True, slots=True)
class LastSeen:
    """The processes whose last heartbeat lies between two times.

    Attributes:
        now: the time of the answer, microseconds since 1970 by the store's clock.
        processes: the processes.
    """

    now: int
    processes: Sequence[ProcessName]


def opening_text(process: ProcessName, first: int, last: int, instance: str) -> str:
    """Return an opening without its time, which the store adds."""
    name = "".join(instance.split()) or "-"
    return f"{process} {first} {last} {name}"


def parsed[Record: (Opening, AloneRun, ProcessName)](
    kind: type[Record], lines: Iterable[str]
) -> list[Record]:
    """Return the records; a line that a newer version wrote differently is left out."""
    found = []
    for line in lines:
        try:
            found.append(kind.parse(line))
        except ValueError:
            continue
    return found
