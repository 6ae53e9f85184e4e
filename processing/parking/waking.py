"""The waking of deferred keys: what waits for a dependency becomes due when its circuit admits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from breaker import Circuit

AGAIN_SECONDS = 5.0
"""Least time between two wakings of a partition's keys by one half-open circuit.

The keys of the first waking may be too few: some probes fail, and some keys have no event left.
"""
LOST_SECONDS = 60.0
"""Age of a waking from which an earlier state of the circuit is believed.

No instance's view is that old, so the circuit's data was lost, and its generations began again.
"""
WOKEN_SECONDS = 1.0
"""Longest pause of a key whose wait was decided before its dependency's keys were woken."""

type Place = tuple[int, int]
"""The generation of a circuit and the rank of its state; see `breaker.state.position_of`."""


@dataclass(frozen=True, slots=True)
class Seen:
    """State of a dependency's circuit when a writer decided that a key waits for it.

    A write may come later than the waking that it should wait for. Then nothing would wake its key.

    Attributes:
        dependency: name of the dependency.
        place: the place of the circuit's state in its life.
    """

    dependency: str
    place: Place

    def is_late(self, woken: Place | None) -> bool:
        """Return whether keys have been woken for a later state.

        Args:
            woken: the place of the partition's last waking for the dependency.
        """
        return woken is not None and woken > self.place


def seen_of(dependency: str, circuit: Circuit) -> Seen | None:
    """Return what a writer knows of the circuit that has just refused an event.

    None: the circuit held without its store, so that no waking may follow. A circuit that has
    closed since the refusal counts as half-open, because its waking may be over.
    """
    if circuit.holding or circuit.generation == 0:
        return None
    generation, rank = circuit.position
    return Seen(dependency, (generation, min(rank, 1)))


@dataclass(frozen=True, slots=True)
class Waking:
    """A state of a dependency's circuit in which replays of the keys that wait for it may start.

    Attributes:
        dependency: name of the dependency.
        generation: the circuit's generation.
        closed: whether the circuit is closed; else it is half-open.
        most: number of keys that are due while the circuit is half-open: those with the fewest
            attempts. A closed circuit makes all of them due.
        again_seconds: least time between two wakings by one half-open circuit; so long the other
            keys are not due.
        lost_seconds: age of a waking from which an earlier state of the circuit is believed.
    """

    dependency: str
    generation: int
    closed: bool
    most: int
    again_seconds: float = AGAIN_SECONDS
    lost_seconds: float = LOST_SECONDS

    @property
    def position(self) -> tuple[int, int]:
        """The place of the state in the circuit's life; a later state has a greater one."""
        return (self.generation, 2 if self.closed else 1)

    def is_asked(self, last: tuple[tuple[int, int], float] | None, now: float) -> bool:
        """Return whether an instance has asked for this waking, and need not ask again.

        Args:
            last: position and time of the instance's last request.
            now: the time by the same clock.
        """
        if last is None or last[0] != self.position:
            return False
        return self.closed or now - last[1] < self.again_seconds

    def is_done(self, last: tuple[tuple[int, int], float] | None, now: float) -> bool:
        """Return whether the keys of a partition have been woken for this state.

        Args:
            last: position and time of the partition's last waking for the dependency.
            now: the store's time, in seconds since 1970.
        """
        if last is None:
            return False
        position, age = last[0], now - last[1]
        if position == self.position:
            return self.closed or age < self.again_seconds
        return position > self.position and age < self.lost_seconds

    def choose[K](self, attempts: Mapping[K, int]) -> list[K]:
        """Return the keys that become due, in order.

        Args:
            attempts: the keys that wait for the dependency, with their attempts.
        """
        if self.closed:
            return list(attempts)
        return sorted(attempts, key=attempts.__getitem__)[: self.most]
