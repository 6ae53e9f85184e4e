"""The errors behind an error, and reads of an error's attributes that cannot fail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def causes(error: BaseException) -> Iterator[tuple[BaseException, bool]]:
    """Yield the errors behind an error, and whether the error names each of them as its cause.

    An error names the error of `raise … from …`, the `reason` of urllib and urllib3, and the `orig`
    of SQLAlchemy. The error that was being handled when this one was raised is not named.
    """
    own = vars(error)
    for each in (error.__cause__, own.get("reason"), own.get("orig")):
        if isinstance(each, BaseException):
            yield each, True
    if error.__context__ is not None and not error.__suppress_context__:
        yield error.__context__, False


def attribute(owner: object, name: str) -> Any:
    """Return an attribute, or None if the attribute does not exist or cannot be read.

    An error's property is the code of a client or of a handler, and may raise.
    """
    try:
        return getattr(owner, name, None)
    except Exception:
        return None


def class_names(error: BaseException) -> frozenset[str]:
    """Return the dotted names of the error's class and of its base classes."""
    return frozenset(f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__)
