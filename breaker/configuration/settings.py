"""The base class of all settings: frozen dataclasses, read from app settings with a prefix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Any, ClassVar, Self, cast, get_type_hints

from breaker.configuration.declaration import FAMILIES, check_one
from breaker.configuration.errors import ConfigurationError, nearest
from breaker.configuration.fields import FieldError, FieldKind
from breaker.configuration.lookup import bare
from breaker.configuration.platform_names import is_platform_name


@dataclass(frozen=True, slots=True)
class Settings:
    """A base class of settings; each field is the app setting PREFIX + name in capitals.

    A subclass is a frozen dataclass with slots. A field's annotation defines the accepted values:
    int, float, bool, str, a StrEnum, a Literal, `tuple[str, ...]` (parts between commas), each
    with None as an option, and the marks of `breaker.configuration.fields`. The constructor checks
    all values.
    """

    PREFIX: ClassVar[str]
    ERROR: ClassVar[type[ConfigurationError]] = ConfigurationError
    """The error for an invalid setting."""

    def __post_init__(self) -> None:
        for name, kind in _kinds_of(type(self)).items():
            value = getattr(self, name)
            try:
                # `check` may return another object, for example a StrEnum for a plain text.
                object.__setattr__(self, name, kind.check(value))
            except FieldError as error:
                raise self._refusal(self.variable(name), value, kind, error) from None
        self.check_together()

    def check_together(self) -> None:
        """Check rules over several fields, or beyond type and bounds; raise `ERROR` to refuse."""

    @classmethod
    def variable(cls, field_name: str) -> str:
        """Return the name of a field's app setting."""
        return cls.PREFIX + field_name.upper()

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of all app settings of the class."""
        return tuple(map(cls.variable, _kinds_of(cls)))

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, str]) -> Self:
        """Build the settings from app settings or `os.environ`.

        Names are not case-sensitive. Names without the prefix and names that Kubernetes or App
        Service inject are ignored. Blanks and quotes around a value are ignored, see `bare`. An
        empty value, also an empty list such as ",", means the default.

        Raises:
            PipelineError: the app has several pipelines, and these are the settings of none.
            ConfigurationError: `ERROR`, for an unknown name (the message has the nearest known
                name), a missing required setting, or a value that is not accepted.
        """
        if cls.PREFIX in FAMILIES:
            check_one(mapping)
        kinds = _kinds_of(cls)
        known = {cls.variable(name): name for name in kinds}
        values: dict[str, Any] = {}
        # Of two names that differ only in case, the name in capitals is read last and wins.
        for variable in sorted(mapping, key=str.isupper):
            name = known.get(variable.upper())
            if name is None:
                if variable.upper().startswith(cls.PREFIX) and not is_platform_name(
                    variable, mapping[variable]
                ):
                    near = nearest(variable, known)
                    raise cls.ERROR(f"unknown setting {variable}: did you mean {near}?")
            elif not kinds[name].is_empty(text := bare(mapping[variable])):
                try:
                    values[name] = kinds[name].parse(text)
                except FieldError as error:
                    raise cls._refusal(variable, text, kinds[name], error) from None
        for field in fields(cls):
            required = field.default is MISSING and field.default_factory is MISSING
            if required and field.name not in values:
                takes = kinds[field.name].takes
                raise cls.ERROR(f"{cls.variable(field.name)} is missing: it takes {takes}")
        return cast("Self", cast("Any", cls)(**values))

    @classmethod
    def _refusal(
        cls, variable: str, value: object, kind: FieldKind, error: FieldError
    ) -> ConfigurationError:
        shown = f"is {value!r}" if isinstance(value, str) else f"is {value}"
        if kind.is_secret:
            shown = "has a value that is not shown"
        return cls.ERROR(f"{variable} {error.found or shown}: it takes {error.takes}")


def _kinds_of(cls: type[Settings]) -> Mapping[str, FieldKind]:
    return _resolve(cast("Any", cls))  # mypy does not regard these classes as hashable


@cache
def _resolve(cls: type[Settings]) -> Mapping[str, FieldKind]:
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: FieldKind(hints[field.name]) for field in fields(cls)}
