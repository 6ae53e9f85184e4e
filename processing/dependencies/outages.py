"""Outages that a test declares: the calls of a dependency fail while its outage lasts.

The test kit declares them; in a deployed app there are none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from processing.errors import DependencyUnavailableError


@dataclass(slots=True)
class Outage:
    """An outage of one dependency.

    Attributes:
        name: name of the dependency, in lower case; "" for the calls of the handler itself.
        most: number of calls that fail before the dependency is up again; None: no limit.
        seconds: time from the first failed call until the dependency is up again; None: no limit.
        error: returns the error of a call; None: a `DependencyUnavailableError`.
        calls: number of calls that have failed.
        until: time of the event loop at which the dependency is up again; None: not known yet.
    """

    name: str
    most: int | None = None
    seconds: float | None = None
    error: Callable[[], Exception] | None = None
    calls: int = field(default=0, init=False)
    until: float | None = field(default=None, init=False)

    def fail(self, now: float) -> Exception | None:
        """Return the error of a call that begins now; None if the dependency is up again.

        Args:
            now: the time of the event loop.
        """
        if self.until is None and self.seconds is not None:
            self.until = now + self.seconds
        is_over = self.until is not None and now >= self.until
        if is_over or (self.most is not None and self.calls >= self.most):
            return None
        self.calls += 1
        if self.error is not None:
            return self.error()
        if not self.name:
            return DependencyUnavailableError("down: declared by downstream_down()")
        # Without `dependency=`: the block that the error leaves names its dependency.
        text = f"{self.name} is down: declared by downstream_down({self.name!r})"
        return DependencyUnavailableError(text)


OUTAGES: dict[str, Outage] = {}
"""The outages that last now, by the name of their dependency."""
