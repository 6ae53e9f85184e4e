"""App settings of a local run, from the environment or a local.settings.json."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from breaker.configuration.errors import ConfigurationError
from breaker.configuration.json_file import read_json_file

_FORM = '{"IsEncrypted": false, "Values": {"NAME": "value"}}'


def read_settings(path: Path | None) -> Mapping[str, str]:
    """Return the Values of a local.settings.json; without a path, the environment.

    Raises:
        ConfigurationError: see `read_local_settings`.
    """
    return os.environ if path is None else read_local_settings(path)


def read_local_settings(path: Path, *, values_required: bool = True) -> dict[str, str]:
    """Return the Values of a local.settings.json like Core Tools.

    Names of sections are not case-sensitive. A number keeps its spelling; true and false become the
    texts "true" and "false". A setting that is null is not set.

    Args:
        path: the file.
        values_required: whether to refuse a file without Values, probably a wrong file.

    Raises:
        ConfigurationError: the file cannot be read, has another form, or is encrypted.
    """
    try:
        document = read_json_file(path, raw_numbers=True)
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path} cannot be read: there is no such settings file; run `breakwater up` to "
            "create the file, or name another file with --settings"
        ) from None
    sections = (
        {name.lower(): value for name, value in document.items()}
        if isinstance(document, dict)
        else {"values": None}
    )
    if not values_required:
        sections.setdefault("values", {})
    found = sections.get("values")
    if not isinstance(found, dict):
        raise ConfigurationError(f'{path} has no object "Values"; the file takes the form {_FORM}')
    if sections.get("isencrypted"):
        raise ConfigurationError(f"{path} is encrypted; decrypt it with `func settings decrypt`")
    values = {}
    for name, value in found.items():
        if value is None:
            continue
        if isinstance(value, dict | list):
            # The value is not shown, because a settings file contains secrets.
            raise ConfigurationError(
                f"{path}: {name} is {_JSON_NAMES[type(value)]}: it takes a string"
            )
        values[name] = str(value).lower() if isinstance(value, bool) else value
    return values


_JSON_NAMES = {dict: "an object", list: "an array"}
