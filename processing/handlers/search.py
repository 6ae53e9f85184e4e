"""The search of a failed list for the event that fails."""

from __future__ import annotations

from processing.handlers.failures.kind import FailureKind

FEW_EVENTS = 3
"""Most suspects that are called alone at once; a search among them would need as many calls."""


class Search:
    """The search of a list for the event that fails, by calls with the list and with its halves.

    After a failed half, the other half leaves the list: a later list contains its events. After a
    half that succeeded, the other half has the event that fails, so no call with all of the other
    half is needed. One event that fails among `n` thus costs about log2(n) further calls.

    A failure that keeps its events, such as that of a dependency, ends the search, because any
    event may have caused it. Then each event of the call is called alone.

    Args:
        count: number of events in the list.

    Attributes:
        done: number of the first events that were handled.
        part: number of events behind these that are in the next call; 0: the search has ended.
        end: number of the first events that are still in the list.
        alone: number of events behind the handled ones that must be called alone.
    """

    def __init__(self, count: int) -> None:
        self.done = 0
        self.end = count
        self.part = count
        self.alone = 0

    def note(self, failure: FailureKind | None) -> None:
        """Note the outcome of the call with the next part; None: the call succeeded."""
        called = self.done + self.part
        if failure is None:
            self.done = called
        else:
            self.end = called
        suspects = self.end - self.done
        if suspects <= FEW_EVENTS or (failure is not None and failure.keeps):
            self.part, self.alone = 0, suspects
        else:
            self.part = suspects // 2
