"""Binding expressions such as `orders/{queueTrigger}.txt`, in the form that Microsoft documents.

https://learn.microsoft.com/azure/azure-functions/functions-bindings-expressions-patterns
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from local.functions_host.bindings.errors import BindingFailedError
from local.functions_host.errors import AppLoadError

_TOKEN = re.compile(
    r"(?P<escape>\{\{|\}\})|\{(?P<expression>[^{}]*)\}|(?P<text>[^{}]+)|(?P<unbalanced>[{}])"
)
_NAME = re.compile(r"[^\W\d]\w*(\.[\w-]+)*")
_DATE_PART = re.compile(r"(?P<letters>([A-Za-z])\2*)|(?P<text>[^A-Za-z])")
_DATE_PARTS = {
    "yyyy": "%Y",
    "yy": "%y",
    "MM": "%m",
    "dd": "%d",
    "HH": "%H",
    "mm": "%M",
    "ss": "%S",
    "T": "T",
    "Z": "Z",
    "K": "Z",
}
_DEFAULT_DATE = "yyyy-MM-ddTHH-mm-ssK"
_GUIDS: dict[str, Callable[[uuid.UUID], str]] = {
    "D": str,
    "N": lambda value: value.hex,
    "B": lambda value: f"{{{value}}}",
    "P": lambda value: f"({value})",
}

type Data = Mapping[str, Any]
"""The values that a trigger provides, by name in lower case; objects are dicts."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class _Expression:
    """One expression.

    Attributes:
        names: the parts between the dots, in lower case.
        format: the part after the colon.
        text: the expression as the app's author wrote it.
    """

    names: tuple[str, ...]
    format: str
    text: str

    def value(self, data: Data, now: Callable[[], datetime]) -> str:
        found: Any = data
        for name in self.names:
            found = _member(found, name)
        if found is None:
            found = self._built_in(now)
        if found is None:
            raise BindingFailedError(f"No value for named parameter {self.text!r}.")
        if isinstance(found, (dict, list)):
            raise BindingFailedError(
                f"The value of {{{self.text}}} is an object or an array; an expression takes a "
                "text, a number or a truth value"
            )
        return str(found)

    def _built_in(self, now: Callable[[], datetime]) -> str | None:
        match self.names:
            case ("datetime",) | ("sys", "utcnow"):
                return now().strftime(_date_format(self.format or _DEFAULT_DATE))
            case ("rand-guid",) | ("sys", "randguid"):
                return _GUIDS[self.format.upper() or "D"](uuid.uuid4())
        return None


class Template:
    """A text with expressions, parsed when the app is loaded."""

    def __init__(self, text: str, where: str) -> None:
        """Parse a text whose app settings (`%NAME%`) have been replaced.

        Args:
            text: the text.
            where: the beginning of an error's message.

        Raises:
            AppLoadError: a brace is unbalanced, or an expression is unknown.
        """
        self.text = text
        self._parts: list[str | _Expression] = []
        for match in _TOKEN.finditer(text):
            if match["unbalanced"]:
                raise AppLoadError(
                    f"{where}: {text!r} has an unbalanced {match['unbalanced']}; write {{name}}, "
                    "or {{ and }} for braces"
                )
            if match["expression"] is not None:
                self._parts.append(_parse(match["expression"], text, where))
            else:
                self._parts.append(match["text"] or match["escape"][0])

    @property
    def has_expressions(self) -> bool:
        """Return whether the text depends on the trigger's values."""
        return any(isinstance(part, _Expression) for part in self._parts)

    def resolve(self, data: Data, now: Callable[[], datetime] = _now) -> str:
        """Return the text with each expression replaced by its value.

        Raises:
            BindingFailedError: the trigger has no such value.
        """
        return "".join(
            part if isinstance(part, str) else part.value(data, now) for part in self._parts
        )


def _parse(text: str, template: str, where: str) -> _Expression:
    name, _, style = text.partition(":")
    lower = name.lower()
    if lower != "rand-guid" and not _NAME.fullmatch(name):
        raise AppLoadError(
            f"{where}: {template!r} has the expression {{{text}}}; an expression is a name such as "
            "{queueTrigger}, {data.url}, {rand-guid} or {DateTime:yyyy-MM-dd}"
        )
    expression = _Expression(tuple(lower.split(".")), style, text)
    if expression.names in {("datetime",), ("sys", "utcnow")} and style:
        try:
            _date_format(style)
        except ValueError as error:
            raise AppLoadError(f"{where}: {template!r}: {error}") from None
    guids = {("rand-guid",), ("sys", "randguid")}
    if expression.names in guids and (style.upper() or "D") not in _GUIDS:
        raise AppLoadError(
            f"{where}: {template!r} has the format {style!r}; a GUID takes {', '.join(_GUIDS)}"
        )
    return expression


def _date_format(style: str) -> str:
    """Return Python's format of a .NET format.

    Raises:
        ValueError: the local host does not know a part of the format.
    """
    found = []
    for match in _DATE_PART.finditer(style):
        letters = match["letters"]
        if letters is None:
            found.append(match["text"].replace("%", "%%"))
        elif letters in _DATE_PARTS:
            found.append(_DATE_PARTS[letters])
        else:
            raise ValueError(
                f"the local host does not know {letters!r} in the format {style!r}; "
                f"it knows {', '.join(_DATE_PARTS)}"
            )
    return "".join(found)


def _member(value: Any, name: str) -> Any:
    """Return a member of an object, whatever the case of its name; None without one."""
    if not isinstance(value, Mapping):
        return None
    return next((item for key, item in value.items() if str(key).lower() == name), None)
