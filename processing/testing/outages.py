"""`downstream_down`: an outage of a dependency for the calls of a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from breaker.names import dependency_name
from processing.dependencies.outages import OUTAGES, Outage


@contextmanager
def downstream_down(
    dependency: str = "",
    *,
    calls: int | None = None,
    seconds: float | None = None,
    error: Exception | Callable[[], Exception] | None = None,
) -> Iterator[Outage]:
    """Let each call of a dependency fail during the block.

    Inside the handler, `dependency("bank")` raises the error instead of running its block, as if
    the call in it had failed. So the circuit counts the failure, and the event is retried, kept or
    deferred as in an outage. Without a name, each call of the handler fails before its first line,
    as if its downstream were down; that counts for the app's circuit.

    >>> from breakwater import dependency
    >>> from breakwater.testing import event, run
    >>> async def handle(event):
    ...     async with dependency("bank"):
    ...         pass  # the call of the bank
    >>> with downstream_down("bank", calls=2) as outage:
    ...     outcome = run(handle, [order := event()])
    >>> outage.calls, outcome.of(order).attempts, outcome.handled == [order]
    (2, 3, True)

    Args:
        dependency: the name, as in `dependency(...)`.
        calls: number of calls that fail; then the dependency is up again. None: all calls.
        seconds: time from the first failed call, on the test clock, until the dependency is up
            again. None: until the end of the block.
        error: the error of the calls, or a function that returns it. None: a
            `DependencyUnavailableError`.

    Yields:
        The outage; its `calls` is the number of calls that have failed. Check that it is not 0: a
        handler that never calls the dependency does not notice the outage.

    Raises:
        ValueError: an argument is not accepted, or an outage of the name is declared already.
    """
    name = dependency_name(dependency) if dependency else ""
    if calls is not None and calls < 1:
        raise ValueError(f"calls is {calls}; it takes a number of at least 1, or None")
    if seconds is not None and not seconds > 0:
        raise ValueError(f"seconds is {seconds}; it takes a number above 0, or None")
    if name in OUTAGES:
        shown = f"dependency {name!r}" if name else "the handler's own calls"
        raise ValueError(f"an outage of {shown} is declared already, by an outer block")
    outage = OUTAGES[name] = Outage(name, calls, seconds, _maker(error))
    try:
        yield outage
    finally:
        del OUTAGES[name]


def _maker(error: Exception | Callable[[], Exception] | None) -> Callable[[], Exception] | None:
    if error is None or not isinstance(error, Exception):
        return error
    return lambda: error
