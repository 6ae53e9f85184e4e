"""The names of the settings that a pipeline may have of its own, and the names like them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from breaker.configuration.declaration import DECLARES, FAMILIES, PipelineError
from breaker.configuration.errors import nearest
from breaker.configuration.lookup import value_of
from breaker.configuration.platform_names import is_platform_name
from breaker.configuration.settings import Settings

OWN = "PIPELINE_"
"""The beginning of the app settings of one pipeline; the pipeline's name follows."""
ADDRESSES = ("EVENT_HUB_NAME", "EVENT_HUB_CONSUMER_GROUP", "EVENT_HANDLER", "POISON_QUEUE")
STOPS_APP = "STOPS_APP"

_LIKE = 0.75
"""Least similarity of a name to the one that a message suggests."""
_ACCEPTED = (
    f"the own settings of a pipeline are {', '.join(ADDRESSES)}, {STOPS_APP}, and the full names "
    "of settings that begin with PROCESSING_, BREAKER_ or DEPENDENCY_"
)


def split(variable: str) -> tuple[str, str]:
    """Return the pipeline's name and the plain name, in capitals, of `PIPELINE_NAME_PLAIN`."""
    name, _, plain = variable[len(OWN) :].partition("_")
    return name.lower(), plain.upper()


def is_own(plain: str) -> bool:
    """Return whether a pipeline may have a setting with this plain name, in capitals."""
    return plain in {*ADDRESSES, STOPS_APP} or any(
        plain.startswith(each) and plain != each for each in FAMILIES
    )


def check_own(variable: str) -> None:
    """Refuse a setting of a declared pipeline that no pipeline can have of its own.

    Raises:
        PipelineError: the message has the accepted names, and the nearest one.
    """
    name, plain = split(variable)
    if not is_own(plain):
        near = _nearest(plain)
        hint = f"; did you mean {OWN}{name.upper()}_{near}?" if near else ""
        raise PipelineError(f"{variable} is no setting of a pipeline: {_ACCEPTED}{hint}")


def check_undeclared(settings: Mapping[str, str], declared: Sequence[str]) -> list[str]:
    """Refuse settings that look like those of a pipeline, but of one that is not declared.

    Build systems set names such as PIPELINE_WORKSPACE. A name that is most probably not meant for
    Breakwater is returned.

    Args:
        settings: the app settings.
        declared: the names of the declared pipelines.

    Raises:
        PipelineError: the message has the declared pipelines, and the nearest name.
    """
    others: list[str] = []
    for variable in settings:
        upper = variable.upper()
        if not upper.startswith("PIP") or upper == DECLARES:
            continue
        if is_platform_name(variable, settings[variable]):
            continue
        if not upper.startswith((OWN, f"{DECLARES}_")):
            _check_declaration(settings, variable, declared)
            continue
        is_plural = upper.startswith(DECLARES)
        own = f"{OWN}{upper[len(DECLARES) + 1 :]}" if is_plural else upper
        name, plain = split(own)
        if name in declared and not is_plural:
            continue
        near = nearest(name, declared, cutoff=_LIKE)
        if not (near or _is_like_own(own)):
            others.append(variable)
            continue
        if not declared:
            raise PipelineError(
                f"{variable} is set, but {DECLARES} declares no pipeline: {DECLARES} takes names "
                f"between commas, such as orders,audit; without pipelines, remove {variable}"
            )
        plain = plain if is_own(plain) else _nearest(plain) or plain
        hint = f"; did you mean {OWN}{near.upper()}_{plain}?" if near else ""
        raise PipelineError(
            f"{variable} is a setting of no pipeline: {DECLARES} declares "
            f"{', '.join(declared)}{hint}"
        )
    return others


def _check_declaration(settings: Mapping[str, str], variable: str, declared: Sequence[str]) -> None:
    """Refuse a setting such as PIPELINE that is probably meant to declare the pipelines."""
    if not declared and value_of(settings, variable) and nearest(variable, [DECLARES], cutoff=0.8):
        raise PipelineError(f"unknown setting {variable}: did you mean {DECLARES}?")


def _is_like_own(own: str) -> bool:
    """Return whether a name has a setting of a pipeline after any of its underscores."""
    parts = own[len(OWN) :].split("_")
    if any(is_own("_".join(parts[cut:])) for cut in range(1, len(parts))):
        return True
    rest = "_".join(parts[1:])
    return nearest(rest, (*ADDRESSES, STOPS_APP), cutoff=0.8) is not None


def _nearest(plain: str) -> str | None:
    """Return the accepted plain name that is most like another one; None if none is like it.

    People leave out the beginning of a name, so the ends of the names count, too.
    """
    ends = {plain: plain for plain in (*ADDRESSES, STOPS_APP)}
    for each in ADDRESSES:
        parts = each.split("_")
        ends |= {"_".join(parts[cut:]): each for cut in range(1, len(parts))}
    for family in Settings.__subclasses__():
        prefix = getattr(family, "PREFIX", "")
        if prefix in FAMILIES:
            for name in family.names():
                ends.setdefault(name, name)
                ends.setdefault(name.removeprefix(prefix), name)
    near = nearest(plain, ends, cutoff=_LIKE)
    return ends[near] if near else None
