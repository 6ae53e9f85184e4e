"""The check of the calls of a handler of lists.

- No list has more events than the setting PROCESSING_BATCH_HANDLER_EVENTS.
- The events of each list are in the order of their partition, and no key is in two calls at a time.
- A run with a handler of lists has lists of more than one event, or it has tested nothing.
"""

from __future__ import annotations

from loadtest.verify.evidence import Evidence

_MOST_NAMED = 5


class ListCheck:
    """The check of one run.

    Attributes:
        calls: the number of calls with more than one event.
        longest: the number of events of the longest list.
    """

    def __init__(self, evidence: Evidence) -> None:
        sizes = evidence.lists.sizes
        self.calls = sum(count for size, count in sizes.items() if size > 1)
        self.longest = max(sizes, default=0)
        self._wrong = evidence.lists.wrong
        self._most = evidence.expectation.most_listed

    def broken(self) -> list[str]:
        """Return one line for each broken promise; none without a handler of lists."""
        if self._most is None:
            return []
        lines = [f"a list was wrong: {text}" for text in self._wrong[:_MOST_NAMED]]
        if self.longest > self._most:
            lines.append(f"a list had {self.longest} events, expected at most {self._most}")
        if not self.calls:
            lines.append("no list had more than one event, so the run has not tested lists")
        return lines
