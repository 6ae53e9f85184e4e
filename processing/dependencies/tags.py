"""Tags: which dependency an error of the running event belongs to."""

from __future__ import annotations

from processing.errors import DependencyUnavailableError

MOST_TAGS = 100
"""Greatest number of tagged errors of one event; a handler may catch any number of errors."""
_MOST_DEEP = 50


class Tags:
    """The dependencies of the running event's errors.

    A tag is not stored in the error: a handler may raise the same object for another event.
    """

    def __init__(self) -> None:
        self._tags: dict[int, tuple[BaseException, str]] = {}

    def __bool__(self) -> bool:
        return bool(self._tags)

    def add(self, error: BaseException, name: str) -> None:
        """Tag an error, unless the error or one of its named causes belongs to a dependency."""
        cause: BaseException | None = error
        for _ in range(_MOST_DEEP):
            if cause is None:
                break
            if self.of(cause):
                return
            cause = cause.__cause__
        if len(self._tags) >= MOST_TAGS:
            del self._tags[next(iter(self._tags))]
        self._tags[id(error)] = (error, name)  # the reference keeps the id unique

    def of(self, error: BaseException) -> str:
        """Return the dependency of an error, without a look at its causes; "" if unknown."""
        if name := name_in(error):
            return name
        _, name = self._tags.get(id(error), (None, ""))
        return name

    def clear(self) -> None:
        """Forget all tags."""
        self._tags.clear()


def name_in(error: BaseException) -> str:
    """Return the dependency that an error itself names; "" if it names none."""
    if not isinstance(error, DependencyUnavailableError):
        return ""
    name = error.dependency
    return name.lower() if isinstance(name, str) else ""
