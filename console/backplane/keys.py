"""Names of the console's keys in Redis."""

from __future__ import annotations


def tag_of(circuit: str, app: str) -> str:
    """Return the prefix of all keys of one app's consoles, with their hash tag.

    Apps may share a circuit. Each app's consoles have partitions, counts, leases and lines of their
    own, because a page must not show another app's.

    Args:
        circuit: the circuit's name.
        app: sixteen digits that name the app, or "": the settings do not name the app, or the keys
            are those that all consoles of the circuit shared before they knew their app.
    """
    return f"console:{{{circuit}/{app}}}" if app else f"console:{{{circuit}}}"


QUEUE = "poison queue"
"""Stands for the circuit in the keys that all consoles over one poison queue share."""
