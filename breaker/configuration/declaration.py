"""The declaration of an app's pipelines: the setting PIPELINES."""

from __future__ import annotations

import re
from collections.abc import Mapping

from breaker.configuration.errors import ConfigurationError
from breaker.configuration.lookup import value_of

DECLARES = "PIPELINES"
"""The app setting with the names of the pipelines, between commas."""
FAMILIES = ("PROCESSING_", "BREAKER_", "DEPENDENCY_")
"""The beginnings of settings that a pipeline may have of its own, and that a class checks."""
MOST = 20
"""Greatest number of pipelines of an app."""

_NAME = re.compile(r"[a-z][a-z0-9]{0,19}")


class PipelineError(ConfigurationError):
    """A setting of pipelines that cannot be used, or a pipeline that does not exist."""


def declared(settings: Mapping[str, str]) -> list[str]:
    """Return the names of the declared pipelines, in their order; none without PIPELINES.

    Raises:
        PipelineError: PIPELINES names no pipeline, or one twice; or a name cannot be used.
    """
    text = value_of(settings, DECLARES)
    names = [part.strip() for part in text.split(",") if part.strip()]
    if text and not names:
        raise PipelineError(
            f"{DECLARES} is {text!r:.60} and names no pipeline: it takes names between commas, "
            "such as orders,audit"
        )
    for name in names:
        if not _NAME.fullmatch(name):
            raise PipelineError(
                f"{DECLARES} names {name!r:.60}: the name of a pipeline has 1 to 20 lower-case "
                "letters and digits, the first one a letter"
            )
        if names.count(name) > 1:
            raise PipelineError(f"{DECLARES} names {name} twice")
    if len(names) > MOST:
        raise PipelineError(f"{DECLARES} has {len(names)} names: it takes at most {MOST}")
    return names


def check_one(settings: Mapping[str, str]) -> None:
    """Refuse the settings of an app with declared pipelines where those of one are needed.

    Without this check a caller would read the plain names, and touch the data of no pipeline.

    Raises:
        PipelineError: the settings declare pipelines.
    """
    if names := declared(settings):
        raise PipelineError(f"the app has the pipelines {', '.join(names)}; choose one of them")
