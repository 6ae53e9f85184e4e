"""Settings of the circuits of dependencies: `DEPENDENCY_<NAME>_<SETTING>`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import SequenceMatcher
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from breaker.configuration.errors import ConfigurationError
from breaker.configuration.fields import Bounds
from breaker.configuration.platform_names import is_platform_name
from breaker.configuration.settings import Settings
from breaker.errors import SettingsError
from breaker.names import dependency_name
from breaker.registration import Stated, settings_text, usable
from breaker.settings import BreakerSettings, Count, Mode, Period, Recovery

PREFIX = "DEPENDENCY_"
_SEPARATORS = re.compile(r"[.-]")


@dataclass(frozen=True, slots=True)
class Overrides(Settings):
    """The settings of one dependency's circuit that differ from the app's; None: as the app's.

    Each attribute has the meaning of the attribute of `BreakerSettings` with the same name. The
    other settings of the circuit, such as those of Redis, are the app's.
    """

    PREFIX: ClassVar[str] = PREFIX
    ERROR: ClassVar[type[ConfigurationError]] = SettingsError

    mode: Mode | None = None
    failure_threshold: Count | None = None
    window_seconds: Period | None = None
    standstill_failures: Annotated[int, Bounds(0, 1_000_000)] | None = None
    failure_ratio: Annotated[float, Bounds(0.000_001, 1)] | None = None
    minimum_throughput: Count | None = None
    recovery: Recovery | None = None
    break_seconds: Period | None = None
    break_seconds_max: Period | None = None
    half_open_permits: Count | None = None
    ramp_seconds: Annotated[float, Bounds(0, 600)] | None = None
    permit_seconds: Period | None = None
    history_limit: Count | None = None


FIELDS = tuple(each.name for each in fields(Overrides))
_OTHERS = tuple(each.name for each in fields(BreakerSettings) if each.name not in FIELDS)


@dataclass(frozen=True, slots=True)
class DependencySettings:
    """The settings of all circuits of an app's dependencies.

    Attributes:
        app: the settings of the app's own circuit, which each dependency inherits, except that a
            dependency's circuit recovers by itself unless its own settings say otherwise.
        overrides: what differs, by the name of the dependency as its settings spell it: in
            capitals, with '_' for '-' and '.'.
        judges: whether this instance judges the standstill rule. A tool does not, because it may
            have other settings than the app.
    """

    app: BreakerSettings = field(default_factory=BreakerSettings)
    overrides: Mapping[str, Overrides] = MappingProxyType({})
    judges: bool = True

    def __post_init__(self) -> None:
        for name in self.overrides:
            self.of(name)

    @classmethod
    def from_mapping(
        cls,
        mapping: Mapping[str, str],
        app: BreakerSettings | None = None,
        *,
        judges: bool = True,
    ) -> DependencySettings:
        """Build the settings from app settings or `os.environ`.

        Names are not case-sensitive. Names that Kubernetes or App Service inject are ignored.

        Args:
            mapping: the app settings.
            app: the settings of the app's own circuit; default those in `mapping`.
            judges: see `DependencySettings`.

        Raises:
            SettingsError: a setting is unknown (the message has the nearest known name), or its
                value is not accepted.
        """
        found: dict[str, dict[str, str]] = {}
        for variable in mapping:
            if not variable.upper().startswith(PREFIX):
                continue
            # A dependency may be named `my-service-port`, so a known field wins.
            if _field_of(variable) or not is_platform_name(variable, mapping[variable]):
                name, _ = _split(variable)
                found.setdefault(name, {})[variable] = mapping[variable]
        overrides = {name: _reader(name).from_mapping(values) for name, values in found.items()}
        return cls(
            app or BreakerSettings.from_mapping(mapping), MappingProxyType(overrides), judges
        )

    @property
    def text(self) -> str:
        """The form in which an instance registers these settings."""
        own = {
            name: {each: value for each in FIELDS if (value := getattr(found, each)) is not None}
            for name, found in self.overrides.items()
        }
        return settings_text(self.app, own)

    def of(self, dependency: str) -> BreakerSettings:
        """Return the settings of one dependency's circuit.

        Raises:
            SettingsError: a break of the dependency exceeds its longest break.
        """
        name = spelled(dependency)
        own = self.overrides.get(name, Overrides())
        values: dict[str, Any] = {"recovery": Recovery.AUTOMATIC}
        for each in FIELDS:
            if (value := getattr(own, each)) is not None:
                values[each] = value
        if not self.judges:
            values["standstill_failures"] = 0
        longest = values.get("break_seconds_max", self.app.break_seconds_max)
        first = values.get("break_seconds", self.app.break_seconds)
        if longest < first:
            raise SettingsError(
                f"{PREFIX}{name}_BREAK_SECONDS_MAX is {longest:g}"
                f"{'' if own.break_seconds_max is not None else ', the value of the app'}: "
                f"it takes at least break_seconds ({first:g})"
            )
        return replace(self.app, **values)


def stated_settings(found: Stated, dependency: str) -> BreakerSettings:
    """Return the settings of one dependency's circuit that an instance has registered.

    Settings that this version does not know or accept are left out.
    """
    name = spelled(dependency)

    def make(values: Mapping[str, Any]) -> BreakerSettings:
        return DependencySettings(found.settings, {name: Overrides(**values)}).of(dependency)

    return usable(make, found.overrides.get(name, {}))


def spelled(dependency: str) -> str:
    """Return a dependency's name as settings spell it: in capitals, '_' for '-' and '.'."""
    return _SEPARATORS.sub("_", dependency).upper()


def _reader(name: str) -> type[Overrides]:
    """Return the class that reads one dependency's settings."""
    return type("Overrides", (Overrides,), {"PREFIX": f"{PREFIX}{name}_", "__slots__": ()})


def _split(variable: str) -> tuple[str, str]:
    """Return the dependency's name and the field of a setting.

    A name may contain '_', so the longest field at the end of the setting's name counts.

    Raises:
        SettingsError: the setting's name ends with no field, or names no dependency.
    """
    rest = variable.upper().removeprefix(PREFIX)
    if found := _field_of(variable):
        return _checked(variable, rest.removesuffix(f"_{found.upper()}")), found
    for each in _OTHERS:
        if rest.endswith(f"_{each.upper()}"):
            raise SettingsError(
                f"{variable} cannot be set for one dependency: set "
                f"{BreakerSettings.variable(each)} for the app and all its dependencies"
            )
    raise SettingsError(f"unknown setting {variable}: did you mean {_nearest(rest)}?")


def _field_of(variable: str) -> str | None:
    rest = variable.upper().removeprefix(PREFIX)
    ends = (each for each in FIELDS if rest.endswith(f"_{each.upper()}"))
    return max(ends, key=len, default=None)


def _checked(variable: str, name: str) -> str:
    try:
        dependency_name(name)
    except ValueError as error:
        raise SettingsError(f"{variable} cannot be used: {error}") from None
    return name


def _nearest(rest: str) -> str:
    """Return the known setting that is most like the rest of an unknown one."""
    parts = rest.split("_")
    best, score = f"{PREFIX}<NAME>_{FIELDS[0].upper()}", 0.0
    for cut in range(1, len(parts)):
        name, end = "_".join(parts[:cut]), "_".join(parts[cut:])
        for each in FIELDS:
            likeness = SequenceMatcher(None, end, each.upper()).ratio()
            if likeness > score:
                best, score = f"{PREFIX}{name}_{each.upper()}", likeness
    return best
