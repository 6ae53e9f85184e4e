"""The dependency to which an error of the running event belongs."""

from __future__ import annotations

from processing.dependencies.scope import current_scope
from processing.dependencies.tags import name_in
from processing.handlers.failures.causes import causes

_MOST_DEEP = 50


def dependency_of(error: BaseException) -> str:
    """Return the dependency that an error names, or whose block the error has left; "" if none."""
    scope = current_scope()
    return name_in(error) if scope is None else scope.tags.of(error)


def dependency_behind(error: BaseException) -> str:
    """Return the dependency of an error or of the nearest error behind it; "" if none has one."""
    seen: set[int] = set()
    found = [error]
    while found and len(seen) < _MOST_DEEP:
        each = found.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        if name := dependency_of(each):
            return name
        found += [cause for cause, _ in causes(each)]
    return ""
