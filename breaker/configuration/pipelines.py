"""The pipelines of an app: each has a hub, a handler, a circuit and a poison queue of its own.

An app with one pipeline needs none of these settings. `PIPELINES=orders,audit` declares several;
`PIPELINE_ORDERS_EVENT_HUB_NAME` is then EVENT_HUB_NAME of the pipeline `orders`. The plain name is
the value of each pipeline without a setting of its own.

All other parts read the settings of one pipeline, as `pipelines_of` returns them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from breaker.configuration.errors import ConfigurationError, nearest
from breaker.configuration.lookup import value_of

logger = logging.getLogger(__name__)

DECLARES = "PIPELINES"
"""The app setting with the names of the pipelines, between commas."""
NAME = "BREAKWATER_PIPELINE"
"""The setting with the pipeline's name, which only the settings of one pipeline have."""
DEFAULT = "default"
"""The name of an app's only pipeline; as a declared pipeline it keeps the data of that one."""
OVERRIDES = (
    "EVENT_HUB_",
    "EVENT_HANDLER",
    "POISON_",
    "PROCESSING_",
    "BREAKER_",
    "DEPENDENCY_",
)
"""The beginnings of the settings that a pipeline may have of its own."""
MOST = 20
"""Greatest number of pipelines of an app."""

_PREFIX = "PIPELINE_"
_STOPS_APP = "STOPS_APP"
_PIPELINE_NAME = re.compile(r"[a-z][a-z0-9]{0,19}")
_warned: set[str] = set()


class PipelineError(ConfigurationError):
    """A setting of pipelines that cannot be used, or a pipeline that does not exist."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One pipeline of an app.

    Attributes:
        name: the pipeline's name; `default` if the app declares none.
        settings: the app settings as the pipeline has them, with the plain names.
        declared: whether PIPELINES names it.
    """

    name: str
    settings: Mapping[str, str] = field(repr=False)
    declared: bool
    _own: Mapping[str, str] = field(repr=False)

    def variable(self, name: str) -> str:
        """Return the name of the app setting that has a plain setting's value here.

        The host, and messages to people, need this name: `PIPELINE_ORDERS_EVENT_HUB_NAME`, or
        `EVENT_HUB_NAME` if the pipeline has no setting of its own.
        """
        return self._own.get(name.upper(), name)


def pipelines_of(settings: Mapping[str, str]) -> tuple[Pipeline, ...]:
    """Return the pipelines in the order of their declaration; one without PIPELINES.

    Args:
        settings: the app settings, or the settings of one pipeline.

    Raises:
        PipelineError: a name cannot be used, or is declared twice; a setting of a pipeline is none
            that a pipeline may have; or two pipelines read one hub with one consumer group, or
            have one circuit.
    """
    names = _declared(settings)
    if not names:
        return (Pipeline(value_of(settings, NAME) or DEFAULT, settings, declared=False, _own={}),)
    own = _own_settings(settings, names)
    several = len(names) > 1
    found = tuple(_pipeline(settings, name, own[name], several=several) for name in names)
    _check_distinct(found)
    return found


def pipeline_of(settings: Mapping[str, str], name: str | None = None) -> Pipeline:
    """Return the pipeline with a name; None: the app's only one.

    Raises:
        PipelineError: see `pipelines_of`; or there is no such pipeline, or no name although the app
            has several.
    """
    found = pipelines_of(settings)
    names = ", ".join(each.name for each in found)
    if name is None:
        if len(found) == 1:
            return found[0]
        raise PipelineError(f"the app has several pipelines, choose one: {names}")
    for each in found:
        if each.name == name.strip().lower():
            return each
    near = nearest(name, [each.name for each in found], cutoff=0.6)
    hint = f"; did you mean {near}?" if near else ""
    raise PipelineError(f"the app has no pipeline {name!r:.60}; it has {names}{hint}")


def check_one(settings: Mapping[str, str]) -> None:
    """Refuse the settings of an app with declared pipelines where those of one are needed.

    Without this check a caller would read the plain names, and touch the data of no pipeline.

    Raises:
        PipelineError: the settings declare pipelines.
    """
    if DECLARES in settings and (names := value_of(settings, DECLARES)):
        raise PipelineError(f"the app has the pipelines {names:.200}; choose one of them")


def _declared(settings: Mapping[str, str]) -> list[str]:
    text = value_of(settings, DECLARES)
    names = [part.strip() for part in text.split(",") if part.strip()]
    for name in names:
        if not _PIPELINE_NAME.fullmatch(name):
            raise PipelineError(
                f"{DECLARES} names {name!r:.60}: the name of a pipeline has 1 to 20 lower-case "
                "letters and digits, the first one a letter"
            )
        if names.count(name) > 1:
            raise PipelineError(f"{DECLARES} names {name} twice")
    if len(names) > MOST:
        raise PipelineError(f"{DECLARES} has {len(names)} names: it takes at most {MOST}")
    return names


def _own_settings(settings: Mapping[str, str], names: list[str]) -> dict[str, dict[str, str]]:
    """Return the names of each pipeline's own app settings by the plain name in capitals."""
    own: dict[str, dict[str, str]] = {name: {} for name in names}
    # Of two names that differ only in case, the name in capitals is read last and wins.
    for variable in sorted(settings, key=str.isupper):
        if not variable.upper().startswith(_PREFIX):
            continue
        name, _, plain = variable[len(_PREFIX) :].partition("_")
        if name.lower() not in own:
            if variable not in _warned:  # build systems set such names
                _warned.add(variable)
                logger.warning(
                    "The app setting %s is ignored: %s does not declare a pipeline %r",
                    *(variable, DECLARES, name.lower()[:60]),
                )
            continue
        if plain.upper() != _STOPS_APP and not plain.upper().startswith(OVERRIDES):
            accepted = ", ".join(f"{each}…" for each in OVERRIDES)
            raise PipelineError(
                f"{variable} is no setting of a pipeline: after {_PREFIX}{name.upper()}_ stands "
                f"{_STOPS_APP}, or the full name of a setting that begins with one of {accepted}"
            )
        if value_of(settings, variable):  # an empty value means the plain setting
            own[name.lower()][plain.upper()] = variable
    return own


def _pipeline(
    settings: Mapping[str, str], name: str, own: Mapping[str, str], *, several: bool
) -> Pipeline:
    plain = {key: value for key, value in settings.items() if not _is_of_pipelines(key)}
    hidden = {*own, NAME}
    values = {key: value for key, value in plain.items() if key.upper() not in hidden}
    values |= {plain: value_of(settings, variable) for plain, variable in own.items()}
    stops = values.pop(_STOPS_APP, "")
    values[NAME] = name
    if stops:
        values["BREAKER_STOPS_APP"] = stops
    elif several and "BREAKER_STOPS_APP" not in own:
        # The plain setting, which is for an app with one pipeline, must not let each one stop it.
        values = {key: each for key, each in values.items() if key.upper() != "BREAKER_STOPS_APP"}
        values["BREAKER_STOPS_APP"] = "false"
    if name != DEFAULT:
        # Without a setting of its own, a pipeline never shares a circuit or a queue with another.
        for setting, default in (("BREAKER_NAME", "breakwater"), ("POISON_QUEUE", "poison")):
            if setting not in own:
                values[setting] = f"{value_of(plain, setting) or default}-{name}"
    return Pipeline(name, values, declared=True, _own=dict(own))


def _is_of_pipelines(variable: str) -> bool:
    upper = variable.upper()
    return upper == DECLARES or upper.startswith(_PREFIX)


def _check_distinct(pipelines: tuple[Pipeline, ...]) -> None:
    reads: dict[tuple[str, str], str] = {}
    circuits: dict[str, str] = {}
    for each in pipelines:
        hub = value_of(each.settings, "EVENT_HUB_NAME").lower()
        group = value_of(each.settings, "EVENT_HUB_CONSUMER_GROUP").lower() or "$default"
        other = reads.setdefault((hub, group), each.name)
        if hub and other != each.name:
            raise PipelineError(
                f"the pipelines {other} and {each.name} read the hub {hub} with the consumer group "
                f"{group}, so each would get the events of only half of the partitions; give one "
                f"of them {_PREFIX}{each.name.upper()}_EVENT_HUB_NAME or "
                f"{_PREFIX}{each.name.upper()}_EVENT_HUB_CONSUMER_GROUP"
            )
        circuit = value_of(each.settings, "BREAKER_NAME") or "breakwater"
        other = circuits.setdefault(circuit, each.name)
        if other != each.name:
            raise PipelineError(
                f"the pipelines {other} and {each.name} have one circuit, {circuit}; give one of "
                f"them another {_PREFIX}{each.name.upper()}_BREAKER_NAME"
            )
