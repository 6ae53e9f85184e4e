"""The pipelines of an app: each has a hub, a handler, a circuit and a poison queue of its own.

An app with one pipeline needs none of these settings. `PIPELINES=orders,audit` declares several;
`PIPELINE_ORDERS_EVENT_HUB_NAME` is then EVENT_HUB_NAME of the pipeline `orders`. The plain name is
the value of each pipeline without a setting of its own.

All other parts read the settings of one pipeline, as `pipelines_of` returns them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from breaker.configuration.declaration import DECLARES, PipelineError, check_one, declared
from breaker.configuration.errors import ConfigurationError, nearest
from breaker.configuration.lookup import value_of
from breaker.configuration.own_names import (
    ADDRESSES,
    OWN,
    STOPS_APP,
    check_own,
    check_undeclared,
    is_own,
    split,
)
from breaker.configuration.platform_names import is_platform_name

__all__ = [
    "DECLARES",
    "DEFAULT",
    "NAME",
    "Pipeline",
    "PipelineError",
    "check_has_handler",
    "check_one",
    "pipeline_of",
    "pipelines_of",
]

logger = logging.getLogger(__name__)

NAME = "BREAKWATER_PIPELINE"
"""The setting with the pipeline's name, which only the settings of one pipeline have."""
DEFAULT = "default"
"""The name of an app's only pipeline; as a declared pipeline it keeps the data of that one."""
_STOPS = "BREAKER_STOPS_APP"
_ADDS_NAME = {"BREAKER_NAME": "breakwater", "POISON_QUEUE": "poison"}
"""The defaults of settings to which a pipeline without a setting of its own adds its name."""
_SETTING = re.compile(r"(?<!\w)[A-Z][A-Z0-9_]+(?!\w)")
_UNKNOWN = re.compile(r"(unknown setting (PIPELINE_[^_]+_)\S+: did you mean )(?!PIPELINE_)", re.I)
_warned: set[str] = set()


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

    def explain(self, text: str) -> str:
        """Return the text of an error with the pipeline's name and the names of its own settings.

        All parts read the settings of a pipeline by their plain names, and so do their errors. The
        text of an app without declared pipelines stays as it is.
        """
        if not self.declared:
            return text
        beginning = f"pipeline {self.name}: "
        text = _SETTING.sub(lambda found: self.variable(found[0]), text.removeprefix(beginning))
        text = _UNKNOWN.sub(r"\1\2", text)
        for setting in _ADDS_NAME:
            if setting not in self._own and self.name != DEFAULT and f"{setting} is " in text:
                text += (
                    f" (without {OWN}{self.name.upper()}_{setting}, the pipeline adds "
                    f"-{self.name} to {setting})"
                )
        return beginning + text

    @contextmanager
    def explaining(self, *kinds: type[Exception]) -> Iterator[None]:
        """Explain the errors that the block raises, see `explain`.

        Args:
            kinds: the classes of errors, besides ConfigurationError.
        """
        explained: tuple[type[Exception], ...] = (ConfigurationError, *kinds)
        try:
            yield
        except explained as error:
            error.args = (self.explain(str(error)),)
            raise


def pipelines_of(settings: Mapping[str, str]) -> tuple[Pipeline, ...]:
    """Return the pipelines in the order of their declaration; one without PIPELINES.

    Args:
        settings: the app settings, or the settings of one pipeline.

    Raises:
        PipelineError: a name cannot be used, or is declared twice; a setting is that of no declared
            pipeline, or none that a pipeline may have; or two pipelines read one hub with one
            consumer group, or have one circuit.
    """
    names = declared(settings)
    others = check_undeclared(settings, names)
    if not names:
        return (Pipeline(value_of(settings, NAME) or DEFAULT, settings, declared=False, _own={}),)
    for variable in others:
        if variable not in _warned and variable.upper().startswith(OWN):
            _warned.add(variable)
            logger.warning(
                "The app setting %s is ignored: %s does not declare a pipeline %r",
                *(variable, DECLARES, split(variable)[0][:60]),
            )
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


def check_has_handler(settings: Mapping[str, str]) -> None:
    """Refuse the settings of a declared pipeline without a handler.

    The sample handler is for an app without declared pipelines. If a declared pipeline had it, the
    sample would finish the events of a pipeline whose handler was forgotten.

    Args:
        settings: the settings of one pipeline.

    Raises:
        PipelineError: the pipeline has neither a handler of its own nor the plain one.
    """
    name = value_of(settings, NAME)
    if name and not value_of(settings, "EVENT_HANDLER"):
        raise PipelineError(
            f"EVENT_HANDLER is missing: set {OWN}{name.upper()}_EVENT_HANDLER, or EVENT_HANDLER "
            "for all pipelines without one of their own; both take module:attribute, for example "
            "my_handlers:handle"
        )


def _own_settings(settings: Mapping[str, str], names: list[str]) -> dict[str, dict[str, str]]:
    """Return the names of each pipeline's own app settings by the plain name in capitals."""
    own: dict[str, dict[str, str]] = {name: {} for name in names}
    # Of two names that differ only in case, the name in capitals is read last and wins.
    for variable in sorted(settings, key=str.isupper):
        if not variable.upper().startswith(OWN):
            continue
        name, plain = split(variable)
        if name not in own:
            continue
        if not is_own(plain) and is_platform_name(variable, settings[variable]):
            continue
        check_own(variable)
        if not value_of(settings, variable):
            if plain in _ADDS_NAME:
                continue
            if plain in ADDRESSES:  # it has no default
                raise PipelineError(
                    f"{variable} is empty: remove it for the value of {plain}, or set it"
                )
        if plain == STOPS_APP:
            plain = _STOPS
        other = own[name].setdefault(plain, variable)
        if other.upper() != variable.upper():
            raise PipelineError(f"{other} and {variable} are one setting: remove one of them")
        own[name][plain] = variable
    return own


def _pipeline(
    settings: Mapping[str, str], name: str, own: Mapping[str, str], *, several: bool
) -> Pipeline:
    plain = {key: value for key, value in settings.items() if not _is_of_pipelines(key)}
    hidden = {*own, NAME, *([_STOPS] if several else [])}
    values = {key: value for key, value in plain.items() if key.upper() not in hidden}
    # An empty own value means the default of the product, not the plain setting.
    values |= {plain: value_of(settings, variable) for plain, variable in own.items()}
    values[NAME] = name
    if several and not values.get(_STOPS):
        # The plain setting, which is for an app with one pipeline, must not let each one stop it.
        values[_STOPS] = "false"
    if name != DEFAULT:
        # Without a setting of its own, a pipeline never shares a circuit or a queue with another.
        for setting, default in _ADDS_NAME.items():
            if setting not in own:
                values[setting] = f"{value_of(plain, setting) or default}-{name}"
    return Pipeline(name, values, declared=True, _own=dict(own))


def _is_of_pipelines(variable: str) -> bool:
    upper = variable.upper()
    return upper == DECLARES or upper.startswith(OWN)


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
                f"of them {OWN}{each.name.upper()}_EVENT_HUB_NAME or "
                f"{OWN}{each.name.upper()}_EVENT_HUB_CONSUMER_GROUP"
            )
        circuit = value_of(each.settings, "BREAKER_NAME") or "breakwater"
        other = circuits.setdefault(circuit, each.name)
        if other != each.name:
            raise PipelineError(
                f"the pipelines {other} and {each.name} have one circuit, {circuit}; give one of "
                f"them another {OWN}{each.name.upper()}_BREAKER_NAME"
            )
