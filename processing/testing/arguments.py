"""The arguments of the test kit, checked: events, and app settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from processing.event import Event


def checked(events: Iterable[Event]) -> list[Event]:
    """Return the events as a list.

    Raises:
        TypeError: the argument is no list of events.
    """
    if isinstance(events, Event | str | bytes | Mapping):
        raise TypeError(f"events is one {type(events).__qualname__}; it takes a list of events")
    found = list(events)
    for each in found:
        if not isinstance(each, Event):
            raise TypeError(
                f"events contains a {type(each).__qualname__}; it takes a list of events, each "
                "made by event(...)"
            )
    return found


def as_app_settings(settings: Mapping[str, object]) -> dict[str, str]:
    """Return app settings, which are texts on Azure; a list becomes its parts between commas.

    Raises:
        TypeError: a value has no form as an app setting.
    """
    return {name: _text(name, value) for name, value in settings.items()}


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list | tuple):
        return ",".join(_text(name, each) for each in value)
    raise TypeError(
        f"the setting {name} is a {type(value).__qualname__}; it takes a text, a number, a bool or "
        "a list of these"
    )
