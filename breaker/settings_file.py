"""App settings for command lines: the environment, or a local.settings.json."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from breaker.errors import SettingsError


def read_settings(path: Path | None) -> Mapping[str, str]:
    """The environment, or the Values of a local.settings.json.

    Raises:
        SettingsError: the file cannot be read or is of another form.
    """
    if path is None:
        return os.environ
    try:
        values = json.loads(path.read_text("utf-8"))["Values"]
        return {str(name): str(value) for name, value in values.items()}
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SettingsError(f'{path} is not of the form {{"Values": {{...}}}}') from None
