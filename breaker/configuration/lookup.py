"""The value of one app setting, as the host reads it."""

from __future__ import annotations

from collections.abc import Mapping


def value_of(settings: Mapping[str, str], name: str) -> str:
    """Return the value of a setting without the blanks around it; "" if there is none.

    Names are not case-sensitive, as in the host. The exact spelling wins over others.
    """
    if name not in settings:
        lower = name.lower()
        name = next((each for each in sorted(settings) if each.lower() == lower), name)
    return settings.get(name, "").strip()
