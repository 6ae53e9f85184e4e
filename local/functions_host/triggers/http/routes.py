"""Route templates of HTTP functions in ASP.NET's form, such as `orders/{id:int?}`, `{*rest}`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote
from uuid import UUID

_SEGMENT = re.compile(
    r"\{(?P<catchall>\*{0,2})(?P<name>[A-Za-z_]\w*)"
    r"(?P<constraints>(?::[^}=?]+)*)(?:=(?P<default>[^}]*?))?(?P<optional>\??)\}"
)


def _is(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


def _parses(convert: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            convert(text)
        except ValueError:
            return False
        return True

    return check


_CONSTRAINTS: dict[str, Callable[[str], bool]] = {
    "int": _is(r"-?\d+"),
    "long": _is(r"-?\d+"),
    "bool": _is(r"(?i:true|false)"),
    "alpha": _is(r"[A-Za-z]*"),
    "guid": _parses(UUID),
    "double": _parses(float),
    "float": _parses(float),
    "decimal": _parses(float),
    "required": _is(r".+"),
}


@dataclass(frozen=True)
class _Part:
    """One segment of a template: literal text or a parameter."""

    literal: str = ""
    name: str = ""
    constraints: tuple[str, ...] = ()
    default: str | None = None
    optional: bool = False
    catch_all: bool = False

    def accepts(self, text: str) -> bool:
        if not self.name:
            return text.lower() == self.literal.lower()
        return all(_CONSTRAINTS[constraint](text) for constraint in self.constraints)


@dataclass(frozen=True)
class Route:
    """A parsed route template."""

    template: str
    parts: tuple[_Part, ...]

    @property
    def precedence(self) -> tuple[int, ...]:
        """The sort key: literals first, then constrained, free and catch-all parameters."""
        return tuple(
            3 if part.catch_all else 0 if not part.name else 1 if part.constraints else 2
            for part in self.parts
        )

    def match(self, path: str) -> dict[str, str] | None:
        """Return the parameters if `path` (percent-encoded) matches, else None."""
        segments = [unquote(segment) for segment in path.strip("/").split("/") if segment]
        found: dict[str, str] = {}
        for index, part in enumerate(self.parts):
            if part.catch_all:
                found[part.name] = "/".join(segments[index:])
                return found
            if index < len(segments):
                if not part.accepts(segments[index]):
                    return None
                if part.name:
                    found[part.name] = segments[index]
            elif part.default is not None:
                found[part.name] = part.default
            elif not part.optional:
                return None
        return found if len(segments) <= len(self.parts) else None


def parse_route(template: str) -> Route:
    """Parse a route template.

    Raises:
        ValueError: a segment mixes text and parameters, or a constraint is unknown.
    """
    parts = []
    segments = [segment for segment in template.strip("/").split("/") if segment]
    for index, segment in enumerate(segments):
        if "{" not in segment and "}" not in segment:
            parts.append(_Part(literal=segment))
            continue
        match = _SEGMENT.fullmatch(segment)
        if match is None:
            raise ValueError(
                f"route {template!r}: segment {segment!r} is invalid; "
                "write text, {name}, {name?}, {name:int}, {name=default} or {*rest}"
            )
        constraints = tuple(item for item in match["constraints"].split(":") if item)
        for constraint in constraints:
            if constraint not in _CONSTRAINTS:
                raise ValueError(
                    f"route {template!r}: unknown constraint {constraint!r}; "
                    f"known are {', '.join(sorted(_CONSTRAINTS))}"
                )
        if match["catchall"] and index != len(segments) - 1:
            raise ValueError(f"route {template!r}: {segment!r} must come last")
        parts.append(
            _Part(
                name=match["name"],
                constraints=constraints,
                default=match["default"],
                optional=bool(match["optional"]),
                catch_all=bool(match["catchall"]),
            )
        )
    return Route(template, tuple(parts))
