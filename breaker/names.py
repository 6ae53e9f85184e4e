"""Names of circuits: an app's own, and those of its dependencies, such as `breakwater/bank`."""

from __future__ import annotations

import re

SEPARATOR = "/"
"""Stands between the app's name and the dependency's; neither name may contain it."""

_DEPENDENCY = re.compile(r"[a-z0-9._-]{1,32}")


def dependency_name(text: str) -> str:
    """Return a dependency's name in the form in which names are compared: in lower case.

    Raises:
        ValueError: the name is empty, has more than 32 characters, or has other characters than
            letters, digits, '-', '_' and '.'.
    """
    name = text.lower()
    if not text.isascii() or not _DEPENDENCY.fullmatch(name):
        raise ValueError(
            f"the name of a dependency is {text!r:.100}: it takes 1 to 32 letters, digits, "
            "'-', '_' or '.'"
        )
    return name


def circuit_name(app: str, dependency: str) -> str:
    """Return the full name of a dependency's circuit."""
    return f"{app}{SEPARATOR}{dependency}"


def split_name(circuit: str) -> tuple[str, str]:
    """Return the app's name and the dependency's, which is empty for the app's own circuit."""
    app, _, dependency = circuit.partition(SEPARATOR)
    return app, dependency
