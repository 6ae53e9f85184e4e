"""The rolling window of failures, as the memory store keeps it.

The Redis store keeps the same in a sorted set; ids make members unique, so that failures of the
same microsecond never collapse into one.
"""

from __future__ import annotations

import bisect

from breaker.state import MAX_SAMPLES


class RollingWindow:
    """Failures by id and time (microseconds), and a sample of the latest errors.

    A sample's slot is the count at its time: while the count climbs, the newest five are kept.
    """

    def __init__(self) -> None:
        self._order: list[tuple[int, str]] = []
        self._ids: set[str] = set()
        self._samples: dict[int, tuple[int, int, str]] = {}

    def __len__(self) -> int:
        return len(self._order)

    def count(self, after_us: int) -> int:
        """How many failures are younger than `after_us`."""
        return len(self._order) - self._first_after(after_us)

    def trim(self, after_us: int) -> None:
        """Forget failures at or before `after_us`."""
        self._drop(self._first_after(after_us))

    def add(self, failure_id: str, at_us: int, error: str) -> bool:
        """Count a failure; False if its id is in the window already."""
        if failure_id in self._ids:
            return False
        self._ids.add(failure_id)
        bisect.insort(self._order, (at_us, failure_id))
        count = len(self._order)
        self._samples[count % MAX_SAMPLES] = (at_us, count, error)
        return True

    def limit(self, size: int) -> None:
        """Keep the newest `size` failures."""
        self._drop(max(0, len(self._order) - size))

    def samples(self, after_us: int) -> list[str]:
        """Up to five error texts younger than `after_us`, newest first."""
        newest_first = sorted(self._samples.values(), key=lambda sample: sample[:2], reverse=True)
        return [error for at_us, _, error in newest_first if at_us > after_us]

    def failures(self) -> list[tuple[int, str]]:
        """All (microseconds, id), oldest first."""
        return list(self._order)

    def clear(self) -> None:
        """Forget everything."""
        self._order.clear()
        self._ids.clear()
        self._samples.clear()

    def _first_after(self, after_us: int) -> int:
        return bisect.bisect_left(self._order, (after_us + 1, ""))

    def _drop(self, count: int) -> None:
        for _, failure_id in self._order[:count]:
            self._ids.discard(failure_id)
        del self._order[:count]
