"""The best that any scheduler could do: a lower bound to compare lanes with."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Hashable, Sequence


def ideal_seconds(work: Sequence[tuple[Hashable, float]], lanes: int) -> float:
    """The shortest time in which `lanes` workers can do the work, without any overhead.

    No schedule can beat the average load of the workers, nor the longest key, since a key's events
    run one after another.

    Args:
        work: (key, seconds) of each event.
        lanes: how many may run at the same time.

    Raises:
        ValueError: fewer than one lane.
    """
    if lanes < 1:
        raise ValueError(f"{lanes} lanes; it takes 1 or more")
    of_key: dict[Hashable, float] = defaultdict(float)
    for key, seconds in work:
        of_key[key] += seconds
    if not of_key:
        return 0.0
    return max(sum(of_key.values()) / lanes, *of_key.values())


def lane_by_lane_seconds(work: Sequence[tuple[Hashable, float]], lanes: int) -> float:
    """How long it takes if a free worker takes the next key and does all of its events.

    What `BatchProcessor` does, without any overhead: the part of its distance to the ideal that
    comes from the order, not from the code.
    """
    of_key: dict[Hashable, float] = defaultdict(float)
    for key, seconds in work:
        of_key[key] += seconds
    free_at = [0.0] * max(1, lanes)
    for seconds in of_key.values():
        heapq.heappush(free_at, heapq.heappop(free_at) + seconds)
    return max(free_at)
