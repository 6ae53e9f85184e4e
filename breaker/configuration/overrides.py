"""Options of host.json that app settings replace, as on Azure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from breaker.configuration.lookup import bare

PREFIX = "AzureFunctionsJobHost__"
"""Azure reads an app setting such as `AzureFunctionsJobHost__a__b` as the option `a.b`."""


class SettingText(str):
    """The value of an option that an app setting replaces, which is always a text.

    Attributes:
        setting: the name of the app setting, for messages.
    """

    setting: str

    def __new__(cls, value: str, setting: str = "") -> SettingText:
        """Return the text with the name of its app setting."""
        text = super().__new__(cls, bare(value))
        text.setting = setting
        return text


def overrides(settings: Mapping[str, str]) -> Iterator[tuple[list[str], SettingText]]:
    """Yield the path and the value of each option that an app setting replaces.

    Names are not case-sensitive. `:` separates like `__`, as in .NET. An empty value replaces
    nothing.
    """
    for name in sorted(settings):
        spelled = name.replace(":", "__")
        if spelled.lower().startswith(PREFIX.lower()) and bare(settings[name]):
            path = spelled[len(PREFIX) :].split("__")
            if all(path):
                yield path, SettingText(settings[name], name)


def with_overrides(document: dict[str, Any], settings: Mapping[str, str]) -> dict[str, Any]:
    """Return a host.json document with the options that app settings replace."""
    merged = dict(document)
    for path, value in overrides(settings):
        section = merged
        for part in path[:-1]:
            name = _spelling(section, part)
            found = section.get(name)
            section[name] = dict(found) if isinstance(found, dict) else {}
            section = section[name]
        section[_spelling(section, path[-1])] = value
    return merged


def _spelling(section: Mapping[str, Any], part: str) -> str:
    """Return the name that the section has for an option, because host.json ignores case."""
    return next((name for name in section if name.lower() == part.lower()), part)
