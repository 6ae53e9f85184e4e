"""Azure's rules for the names of queues, blob containers, hubs and consumer groups.

The rules are in "Naming rules and restrictions for Azure resources" and "Naming queues and
metadata". A function returns a name that follows its rule. For another name the function raises
ValueError, and the message is the rule.
"""

from __future__ import annotations

import re

DEFAULT_GROUP = "$Default"
"""The consumer group that every hub has."""

_STORAGE = re.compile(r"(?=.{3,63}\Z)[a-z0-9]+(?:-[a-z0-9]+)*")
_HUB = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,254}[A-Za-z0-9])?")
_MOST_OF_GROUP = 50


def queue_name(name: str) -> str:
    """Return the name of a queue, which is also the name of a blob container."""
    if not _STORAGE.fullmatch(name):
        raise ValueError(
            "3 to 63 lower-case letters, digits and single hyphens, with a letter or digit at both "
            "ends"
        )
    return name


def hub_name(name: str) -> str:
    """Return the name of an event hub."""
    if not _HUB.fullmatch(name):
        raise ValueError(
            "letters, digits, '.', '-' and '_', at most 256, with a letter or digit at both ends"
        )
    return name


def group_name(name: str) -> str:
    """Return the name of a consumer group."""
    if name.strip().lower() == DEFAULT_GROUP.lower():
        return name
    if not _HUB.fullmatch(name) or len(name) > _MOST_OF_GROUP:
        raise ValueError(
            f"letters, digits, '.', '-' and '_', at most {_MOST_OF_GROUP}, with a letter or digit "
            f"at both ends, or {DEFAULT_GROUP}"
        )
    return name
