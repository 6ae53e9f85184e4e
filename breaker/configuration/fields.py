"""Types and bounds of settings fields, from annotations such as `Annotated[int, Bounds(1, 9)]`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAliasType, Union, get_args, get_origin

from breaker.configuration.lookup import bare
from breaker.configuration.references import unresolved

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the greatest accepted number."""

    least: float
    most: float


@dataclass(frozen=True, slots=True)
class MinLength:
    """The least number of characters of a text."""

    characters: int


@dataclass(frozen=True, slots=True)
class Each:
    """A function that returns the stored form of one part of a list.

    For an invalid part the function raises ValueError, with the accepted form as its message.
    """

    clean: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Secret:
    """A mark of secret values, which no error message shows."""


class FieldError(ValueError):
    """A value that a field does not accept; never raised outside this package.

    Attributes:
        takes: the accepted values, in words.
        found: the wrong value, in words; None to show the value itself.
    """

    def __init__(self, takes: str, found: str | None = None) -> None:
        super().__init__(takes)
        self.takes = takes
        self.found = found


class FieldKind:
    """The type and the limits of one field, read from its annotation."""

    def __init__(self, annotation: Any) -> None:
        marks: list[Any] = []
        kind = annotation
        optional = False
        while True:
            if isinstance(kind, TypeAliasType):
                kind = kind.__value__
            elif get_origin(kind) is Annotated:
                kind, *found = get_args(kind)
                marks += found
            elif get_origin(kind) in {Union, UnionType}:
                [kind] = [option for option in get_args(kind) if option is not NoneType]
                optional = True
            else:
                break
        self._kind = kind
        self._optional = optional
        self._bounds = _only(marks, Bounds)
        self._length = _only(marks, MinLength)
        self._each = _only(marks, Each)
        self.is_secret = _only(marks, Secret) is not None
        if get_origin(kind) is Literal:
            self._choices: tuple[str, ...] = get_args(kind)
        elif isinstance(kind, type) and issubclass(kind, StrEnum):
            self._choices = tuple(kind)
        else:
            self._choices = ()

    def is_empty(self, text: str) -> bool:
        """Return whether a setting's text has no value, which means the default."""
        return not (self._parts(text) if get_origin(self._kind) is tuple else text)

    @property
    def takes(self) -> str:
        """The accepted values, in words."""
        if self._choices:
            return " or ".join(str(choice) for choice in self._choices)
        if self._kind is bool:
            return "true or false"
        if self._kind in {int, float}:
            number = "a whole number" if self._kind is int else "a number"
            if self._bounds is None:
                return number
            return f"{number} from {_number(self._bounds.least)} to {_number(self._bounds.most)}"
        if self._length is not None:
            return f"at least {self._length.characters} characters"
        return "a text"

    def parse(self, text: str) -> Any:
        """Return the value of a setting's text.

        Raises:
            FieldError: the text is of another type, out of bounds, not one of the choices, or a
                reference to a secret.
        """
        if problem := unresolved(text):
            raise FieldError(self.takes, problem)
        return self.check(self._convert(text))

    def _convert(self, text: str) -> Any:
        if get_origin(self._kind) is tuple:
            return self._parts(text)
        if self._kind is bool:
            if text.lower() in _TRUE | _FALSE:
                return text.lower() in _TRUE
            raise FieldError(self.takes)
        if self._kind in {int, float}:
            try:
                value = self._kind(text)
            except ValueError:
                raise FieldError(self.takes) from None
            if not math.isfinite(value):
                raise FieldError(self.takes)
            return value
        return text

    def _parts(self, text: str) -> tuple[str, ...]:
        return tuple(part for each in text.split(",") if (part := bare(each)))

    def check(self, value: Any) -> Any:
        """Return the stored form of a field's value.

        Raises:
            FieldError: the value is of another type, out of bounds, or not one of the choices.
        """
        if value is None and self._optional:
            return value
        if self._choices:
            for choice in self._choices:
                if str(value).lower() == choice:
                    return choice
            raise FieldError(self.takes)
        if self._kind in {int, float}:
            accepted = int if self._kind is int else (int, float)
            if isinstance(value, bool) or not isinstance(value, accepted):
                raise FieldError(self.takes)
            if self._bounds and not self._bounds.least <= value <= self._bounds.most:
                raise FieldError(self.takes)  # NaN is also out of any bounds
        elif self._length is not None and len(value) < self._length.characters:
            raise FieldError(self.takes, f"has {len(value)} characters")
        elif self._each is not None:
            return tuple(self._clean(part, self._each) for part in value)
        return value

    def _clean(self, part: str, each: Each) -> str:
        try:
            return each.clean(part)
        except ValueError as error:
            found = None if self.is_secret else f"has {part!r}"
            raise FieldError(f"{error}, with commas", found) from None


def _only[T](marks: list[Any], kind: type[T]) -> T | None:
    return next((mark for mark in marks if isinstance(mark, kind)), None)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"
