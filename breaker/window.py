"""The rolling window of failures in the memory store.

The Redis store keeps the same data in a sorted set. The members are failure ids, so two failures of
the same microsecond count as two.
"""

from __future__ import annotations

import bisect

from breaker.state import MAX_SAMPLES


class RollingWindow:
    """Failures by id and time (microseconds), and a sample of the latest errors.

    A sample's slot is the number of failures at its time, modulo five. So while the number rises,
    the slots hold the newest five errors.
    """

    def __init__(self) -> None:
        self._order: list[tuple[int, str]] = []
        self._times: dict[str, int] = {}
        self._samples: dict[int, tuple[int, int, str]] = {}

    def __len__(self) -> int:
        return len(self._order)

    def count(self, after_us: int) -> int:
        """Return the number of failures after `after_us`."""
        return len(self._order) - self._first_after(after_us)

    def trim(self, after_us: int) -> None:
        """Remove failures at or before `after_us`."""
        self._drop(self._first_after(after_us))

    def add(self, failure_id: str, at_us: int, error: str) -> None:
        """Add a failure; a repeated id counts once, at its latest time."""
        if (earlier_us := self._times.get(failure_id)) is not None:
            del self._order[bisect.bisect_left(self._order, (earlier_us, failure_id))]
        self._times[failure_id] = at_us
        bisect.insort(self._order, (at_us, failure_id))
        count = len(self._order)
        self._samples[count % MAX_SAMPLES] = (at_us, count, error)

    def limit(self, size: int) -> None:
        """Remove all but the newest `size` failures."""
        self._drop(max(0, len(self._order) - size))

    def samples(self, after_us: int) -> list[str]:
        """Return up to five error texts after `after_us`, newest first."""
        newest_first = sorted(self._samples.values(), key=lambda sample: sample[:2], reverse=True)
        return [error for at_us, _, error in newest_first if at_us > after_us]

    def failures(self) -> list[tuple[int, str]]:
        """Return all failures as (microseconds, id), oldest first."""
        return list(self._order)

    def clear(self) -> None:
        """Remove all failures and samples."""
        self._order.clear()
        self._times.clear()
        self._samples.clear()

    def _first_after(self, after_us: int) -> int:
        return bisect.bisect_left(self._order, (after_us + 1, ""))

    def _drop(self, count: int) -> None:
        for _, failure_id in self._order[:count]:
            del self._times[failure_id]
        del self._order[:count]
