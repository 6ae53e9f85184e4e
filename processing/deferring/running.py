"""The deferred keys that an instance reports as running between their replays.

In an outage in which all keys are deferred nothing runs, and the standstill rule, which needs a
second running key, would never open the circuit. docs/adr/0019-standstill.md gives the reasons.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from breaker import CircuitBreaker, CircuitState
from processing.deferring.parts import Place, circuit_key
from processing.identity import Source
from processing.parking.event import ListKey
from processing.parking.store import LATEST_KEYS

PRUNE_SECONDS = 1.0
"""Pause between two looks at the circuits; a poll of a circuit has about the same pause."""

type Find = Callable[[str], CircuitBreaker | None]
"""Function that returns a dependency's circuit, without I/O; None if there is none."""


class DeferredKeys:
    """The latest deferred keys of this instance's partitions, while their attempts count.

    A key that waits for a dependency is reported to that dependency's circuit, and to the app's
    while the dependency's circuit is closed.

    Args:
        breaker: the app's circuit.
        find: returns the circuit of a dependency.
    """

    def __init__(self, breaker: CircuitBreaker, find: Find = lambda _name: None) -> None:
        self._breaker = breaker
        self._find = find
        self._known: dict[Place, tuple[float, str]] = {}
        self._entered: dict[Place, list[CircuitBreaker]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def circuits(self, since: float, dependency: str = "") -> list[CircuitBreaker]:
        """Return the circuits whose standstill rule counts a deferred key's failed attempts.

        Attempts count only while no event that the circuit concerns has succeeded since the key was
        deferred.

        Args:
            since: time of the deferral.
            dependency: name of the dependency for which the key waits; "" if it is not known.
        """
        own = self._find(dependency) if dependency else None
        found = [] if own is None else [own]
        if own is None or own.circuit.state is CircuitState.CLOSED:
            found.append(self._breaker)
        return [each for each in found if _has_no_success_since(each, since)]

    def reports(self, place: Place) -> bool:
        """Return whether a key is reported as running between its replays."""
        return place in self._known and bool(self.circuits(*self._known[place]))

    def note_claim(
        self, source: Source, latest: Mapping[ListKey, float], needs: Mapping[ListKey, str]
    ) -> None:
        """Take over the latest deferred keys of a partition from its claim.

        Args:
            source: the partition.
            latest: the latest deferred keys, with the time of the deferral.
            needs: the dependencies for which they wait.
        """
        if not latest and not self._known:
            return
        # An earlier key may be one of the latest of its dependency.
        earliest = min(latest.values(), default=0.0) if len(latest) >= LATEST_KEYS else 0.0
        for place in self._of(source):
            if place[1] not in latest and self._known[place][0] >= earliest:
                self._forget(place)
        for key, since in latest.items():
            self.note_deferred(source, key, since, needs.get(key, ""))

    def note_deferred(
        self, source: Source, key: ListKey, since: float, dependency: str = ""
    ) -> None:
        """Note a deferred key.

        Args:
            source: the partition.
            key: the key.
            since: time of the deferral by the store's clock; 0: the key is not deferred.
            dependency: name of the dependency for which the key waits; "" if it is not known.
        """
        if since <= 0 or not self.circuits(since, dependency):
            return
        place = (source, key)
        self._known[place] = (since, dependency)
        self._report(place)
        same = [each for each in self._of(source) if self._known[each][1] == dependency]
        for surplus in sorted(same, key=lambda each: -self._known[each][0])[LATEST_KEYS:]:
            self._forget(surplus)
        if self._timer is None:
            self._plan()

    def released(self, place: Place) -> None:
        """Note that a key is not deferred any more."""
        if place in self._known:
            self._forget(place)

    def forget(self, source: Source) -> None:
        """Forget a partition that another instance owns now."""
        for place in self._of(source):
            self._forget(place)

    def clear(self) -> None:
        """Forget all partitions."""
        for place in list(self._known):
            self._forget(place)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _of(self, source: Source) -> list[Place]:
        return [place for place in self._known if place[0] == source]

    def _report(self, place: Place) -> bool:
        """Report a key to the circuits that count it now; return whether there is one."""
        wanted = self.circuits(*self._known[place])
        entered = self._entered.setdefault(place, [])
        key = circuit_key(*place)
        for breaker in [each for each in entered if each not in wanted]:
            entered.remove(breaker)
            breaker.leave(key)
        for breaker in [each for each in wanted if each not in entered]:
            entered.append(breaker)
            breaker.enter(key)
        return bool(wanted)

    def _forget(self, place: Place) -> None:
        del self._known[place]
        for breaker in self._entered.pop(place):
            breaker.leave(circuit_key(*place))

    def _plan(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(PRUNE_SECONDS, self._prune)

    def _prune(self) -> None:
        self._timer = None
        for place in list(self._known):
            if not self._report(place):
                self._forget(place)
        if self._known:
            self._plan()


def _has_no_success_since(breaker: CircuitBreaker, since: float) -> bool:
    last = breaker.circuit.last_success_at
    return last is None or last <= since
