"""The value of one app setting, as the host reads it."""

from __future__ import annotations

from collections.abc import Mapping


def value_of(settings: Mapping[str, str], name: str) -> str:
    """Return the value of a setting as `bare` returns it; "" if there is none.

    Names are not case-sensitive, as in the host. The exact spelling wins over others.
    """
    if name not in settings:
        lower = name.lower()
        name = next((each for each in sorted(settings) if each.lower() == lower), name)
    return bare(settings.get(name, ""))


def bare(text: str) -> str:
    """Return a value without the blanks and the pair of quotes around it.

    Shells, env files and secret stores leave a line end or quotes at values. Quotes that also occur
    within the text are kept, because then they are parts of a list.
    """
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" and text.count(text[0]) == 2:
        text = text[1:-1].strip()
    return text
