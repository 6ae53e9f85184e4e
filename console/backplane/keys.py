"""Names of the console's keys in Redis."""

from __future__ import annotations


def tag_of(circuit: str, app: str) -> str:
    """Return the prefix of all keys of one app's consoles, with their hash tag.

    Apps may share a circuit. Each app's consoles have partitions, counts, leases and lines of their
    own, because a page must not show those of another app.

    Args:
        circuit: the circuit's name.
        app: sixteen digits that name the app. "": the settings do not name the app, or the keys of
            an older version are meant, which all consoles of a circuit shared.
    """
    return f"console:{{{circuit}/{app}}}" if app else f"console:{{{circuit}}}"


QUEUE = "poison queue"
"""Stands for the circuit in the keys that all consoles over one poison queue share."""
