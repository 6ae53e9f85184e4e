"""The deferred keys that an instance reports as running between their replays.

In an outage in which all keys are deferred nothing runs, and the standstill rule, which needs a
second running key, would never open the circuit. docs/adr/0019-standstill.md gives the reasons.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from breaker import CircuitBreaker
from processing.deferring.parts import Place, circuit_key
from processing.identity import Source
from processing.parking.event import ListKey
from processing.parking.store import LATEST_KEYS

PRUNE_SECONDS = 1.0
"""Pause between two looks at the circuit; a poll of the circuit has about the same pause."""


class DeferredKeys:
    """The latest deferred keys of this instance's partitions, while their attempts count.

    Args:
        breaker: the circuit that receives the reports.
    """

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker
        self._since: dict[Place, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def counts(self, since: float) -> bool:
        """Return whether failed attempts of a deferred key count for the standstill rule.

        They count only while the fleet has had no success since the key was deferred.
        """
        last = self._breaker.circuit.last_success_at
        return last is None or last <= since

    def reports(self, place: Place) -> bool:
        """Return whether a key is reported as running between its replays."""
        return place in self._since and self.counts(self._since[place])

    def note_claim(self, source: Source, latest: Mapping[ListKey, float]) -> None:
        """Take over the latest deferred keys of a partition from its claim."""
        if not latest and not self._since:
            return
        for place in self._of(source):
            if place[1] not in latest:
                self._leave(place)
        for key, since in latest.items():
            self.note_deferred(source, key, since)

    def note_deferred(self, source: Source, key: ListKey, since: float) -> None:
        """Note that a key was deferred now, or at an earlier time `since` of the store's clock."""
        if since <= 0 or not self.counts(since):
            return
        place = (source, key)
        if place not in self._since:
            self._breaker.enter(circuit_key(*place))
        self._since[place] = since
        for surplus in sorted(self._of(source), key=lambda each: -self._since[each])[LATEST_KEYS:]:
            self._leave(surplus)
        if self._timer is None:
            self._plan()

    def released(self, place: Place) -> None:
        """Note that a key is not deferred any more."""
        if place in self._since:
            self._leave(place)

    def forget(self, source: Source) -> None:
        """Forget a partition that another instance owns now."""
        for place in self._of(source):
            self._leave(place)

    def clear(self) -> None:
        """Forget all partitions."""
        for place in list(self._since):
            self._leave(place)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _of(self, source: Source) -> list[Place]:
        return [place for place in self._since if place[0] == source]

    def _leave(self, place: Place) -> None:
        del self._since[place]
        self._breaker.leave(circuit_key(*place))

    def _plan(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(PRUNE_SECONDS, self._prune)

    def _prune(self) -> None:
        self._timer = None
        for place, since in list(self._since.items()):
            if not self.counts(since):
                self._leave(place)
        if self._since:
            self._plan()
