"""Registrations of circuits: the instances that poll a circuit, and their settings.

Each poll of an instance carries its settings, so a registration costs no command of its own. A tool
reads the registrations, because a tool may have other settings than the app, and because a name
that no instance polls is not the name of a circuit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, NamedTuple

from breaker.configuration.version import VERSION
from breaker.errors import SettingsError
from breaker.settings import BreakerSettings

REGISTER_SECONDS = 5.0
"""Least time between two notes of one instance with unchanged settings."""
ALIVE_SECONDS = 15.0
"""An instance that has not polled for this time counts as stopped, unless it polls less often."""
INSTANCE_SECONDS = 86_400.0
"""Age at which the next registration of another instance removes an instance."""
KEPT_SECONDS = 90 * 86_400.0
"""Time for which the registrations of a circuit are kept after its last poll."""
INSTANCES_MOST = 1_000
"""Greatest number of registered instances; beyond this number the oldest are removed."""

_OF_THE_CONNECTION = frozenset({"name", "console_url"})
_FIELDS = tuple(
    each.name
    for each in fields(BreakerSettings)
    if each.name not in _OF_THE_CONNECTION and not each.name.startswith("redis_")
)


RULES = tuple(
    name for name in _FIELDS if not name.startswith(("store_", "alert_")) and name != "poll_seconds"
)
"""The settings that decide on the circuit's state, the same for instances and tools."""


class Poller(NamedTuple):
    """An instance that polls, and its settings as `settings_text` returns them."""

    instance: str
    text: str


class Seen(NamedTuple):
    """A registered instance in a store: its name, the time of its last note, and its settings.

    The time is in seconds since the epoch by the store's clock.
    """

    instance: str
    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance that polls or polled a circuit.

    Attributes:
        name: name of the instance in history and alerts.
        settings: the instance's settings of this circuit. The settings of the connection to Redis
            and of the console's address are defaults, because they are not registered.
        version: the product's version.
        last_seen: time of the last noted poll, seconds since the epoch by the store's clock; at
            most `REGISTER_SECONDS` earlier than the last poll.
        alive: whether the instance polled lately.
    """

    name: str
    settings: BreakerSettings
    version: str
    last_seen: float
    alive: bool


@dataclass(frozen=True, slots=True)
class Registration:
    """The instances of one circuit; at least one.

    Attributes:
        circuit: the circuit's name.
        instances: the instances, the latest first.
    """

    circuit: str
    instances: tuple[Instance, ...]

    @property
    def settings(self) -> BreakerSettings:
        """The settings of the instance that polled last."""
        return self.instances[0].settings

    @property
    def version(self) -> str:
        """The product's version of the instance that polled last."""
        return self.instances[0].version

    @property
    def last_seen(self) -> float:
        """Time of the last noted poll, seconds since the epoch by the store's clock."""
        return self.instances[0].last_seen

    @property
    def alive(self) -> tuple[Instance, ...]:
        """The instances that polled lately; empty if the app is stopped."""
        return tuple(each for each in self.instances if each.alive)

    @property
    def differences(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """The settings that differ between instances that are alive, and `version`.

        The keys are fields of `BreakerSettings`. The value has the names of the instances by each
        text of the setting, for example {"failure_threshold": {"3": ("a",), "5": ("b", "c")}}.
        """
        found: dict[str, dict[str, tuple[str, ...]]] = {}
        for name in (*_FIELDS, "version"):
            texts: dict[str, tuple[str, ...]] = {}
            for each in self.alive:
                value = each.version if name == "version" else getattr(each.settings, name)
                texts[str(value)] = (*texts.get(str(value), ()), each.name)
            if len(texts) > 1:
                found[name] = texts
        return found


def settings_text(
    settings: BreakerSettings, overrides: Mapping[str, Mapping[str, Any]] | None = None
) -> str:
    """Return the stored form of an instance's settings.

    Args:
        settings: the settings of the app's own circuit.
        overrides: what differs for a dependency, by the dependency's name in settings.
    """
    document: dict[str, Any] = {
        "version": VERSION,
        "settings": {name: getattr(settings, name) for name in _FIELDS},
    }
    if overrides:
        document["overrides"] = overrides
    return json.dumps(document, separators=(",", ":"))


class Stated(NamedTuple):
    """An instance's registered version, its settings and those of dependencies."""

    version: str
    settings: BreakerSettings
    overrides: Mapping[str, Mapping[str, Any]]


def stated(text: str, app: str) -> Stated:
    """Return the settings in a stored text.

    Another version of the product may have stored the text, so unknown settings and values that
    this version does not accept are left out. Such a setting has its default.

    Args:
        text: the stored text.
        app: the name of the app's own circuit.
    """
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        document = {}
    overrides = _mapping(document.get("overrides"))
    accepted = usable(
        lambda values: BreakerSettings(name=app, **values), _mapping(document.get("settings"))
    )
    return Stated(
        str(document.get("version", "")),
        accepted,
        {name: _mapping(values) for name, values in overrides.items()},
    )


def usable[Made](make: Callable[[Mapping[str, Any]], Made], values: Mapping[str, Any]) -> Made:
    """Return the result of `make` for the values, without those that it refuses."""
    try:
        return make(values)
    except (SettingsError, TypeError):
        pass
    accepted: dict[str, Any] = {}
    for name, value in values.items():
        try:
            make(accepted | {name: value})
        except (SettingsError, TypeError):
            continue
        accepted[name] = value
    return make(accepted)


def registration_of(
    circuit: str,
    now: float,
    seen: Iterable[Seen],
    settings_of: Callable[[str], tuple[str, BreakerSettings]],
) -> Registration | None:
    """Return the registration of a circuit; None if no instance is registered.

    Args:
        circuit: the circuit's name.
        now: the store's time, seconds since the epoch.
        seen: the registered instances.
        settings_of: returns the version and the circuit's settings in a stored text.
    """
    known = cache(settings_of)  # most instances have the same settings
    instances = []
    for each in seen:
        version, settings = known(each.text)
        limit = max(ALIVE_SECONDS, REGISTER_SECONDS + 2 * settings.poll_seconds)
        alive = now - each.at <= limit
        instances.append(Instance(each.instance, settings, version, each.at, alive))
    instances.sort(key=lambda each: (-each.last_seen, each.name))
    return Registration(circuit, tuple(instances)) if instances else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
