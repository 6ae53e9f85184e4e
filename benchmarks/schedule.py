"""The ideal schedule, a lower bound to compare the lanes with."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Hashable, Sequence


def ideal_seconds(work: Sequence[tuple[Hashable, float]], lanes: int) -> float:
    """Return the shortest time in which `lanes` workers can do the work, without overhead.

    No schedule is shorter than the average load of the workers or than the longest key, because a
    key's events run sequentially.

    Args:
        work: (key, seconds) of each event.
        lanes: the number of events that may run concurrently.

    Raises:
        ValueError: `lanes` is less than 1.
    """
    if lanes < 1:
        raise ValueError(f"{lanes} lanes are too few; it takes 1 or more")
    of_key: dict[Hashable, float] = defaultdict(float)
    for key, seconds in work:
        of_key[key] += seconds
    if not of_key:
        return 0.0
    return max(sum(of_key.values()) / lanes, *of_key.values())


def lane_by_lane_seconds(work: Sequence[tuple[Hashable, float]], lanes: int) -> float:
    """Return the time if a free worker takes the next key and does all events of the key.

    `BatchProcessor` uses this order. The result has no overhead, so that its distance to the ideal
    comes from the order and not from the code.
    """
    of_key: dict[Hashable, float] = defaultdict(float)
    for key, seconds in work:
        of_key[key] += seconds
    free_at = [0.0] * max(1, lanes)
    for seconds in of_key.values():
        heapq.heappush(free_at, heapq.heappop(free_at) + seconds)
    return max(free_at)
