"""App settings: the local settings file, %NAME% in bindings, connections, disabled functions."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from breaker.configuration.local_settings import read_local_settings
from breaker.configuration.lookup import value_of
from local.functions_host.errors import SettingsError, near
from local.services.azurite import storage_connection_string

_NAME = re.compile(r"%([^%]+)%")
_TRUE = {"1", "true"}


@dataclass(frozen=True)
class AppSettings:
    """The app settings that functions see as environment; `source` names them in error messages."""

    values: Mapping[str, str]
    source: str = "the environment"

    def value(self, name: str) -> str:
        """Return a setting's value as the app reads it; "" if the setting is missing or empty."""
        return value_of(self.values, name)

    def expand(self, text: str, where: str) -> str:
        """Replace each %NAME% by the value of that setting.

        Raises:
            SettingsError: a setting is not set; the message begins with `where`.
        """

        def value(match: re.Match[str]) -> str:
            name = match[1]
            found = self.value(name)
            if not found:
                raise SettingsError(
                    f"{where}: app setting {name!r} (written %{name}%) is not set in {self.source}"
                    f"{near(name, self.values)}"
                )
            return found

        return _NAME.sub(value, text)

    def connection(self, name: str, where: str) -> str:
        """Return the connection string in the setting that a binding's `connection` names.

        Raises:
            SettingsError: the setting is not set, or is identity-based, which needs Azure.
        """
        for candidate in (f"AzureWebJobs{name}", name):
            if found := self.value(candidate):
                return found
        if any(setting.lower().startswith(f"{name}__".lower()) for setting in self.values):
            raise SettingsError(
                f"{where}: connection {name!r} is identity-based ({name}__...), which needs Azure; "
                f"for a local run set {name!r} to a connection string"
            )
        raise SettingsError(
            f"{where}: connection {name!r} is not set in {self.source}; "
            f"set it to a connection string{near(name, self.values)}"
        )

    def storage(self, name: str, where: str) -> str:
        """Return a storage connection string, with `UseDevelopmentStorage=true` expanded.

        Raises:
            SettingsError: the setting is not set, or holds no storage connection string.
        """
        text = self.connection(name, where)
        if text.strip().rstrip(";").lower() == "usedevelopmentstorage=true":
            return storage_connection_string({"blob": 10000, "queue": 10001, "table": 10002})
        fields = {part.partition("=")[0].strip() for part in text.split(";")}
        if "AccountName" not in fields and "BlobEndpoint" not in fields:
            raise SettingsError(
                f"{where}: connection {name!r} is not a storage connection string; it takes "
                "AccountName=...;AccountKey=...;... or UseDevelopmentStorage=true"
            )
        return text

    def is_disabled(self, function: str) -> bool:
        """Return whether `AzureWebJobs.<function>.Disabled` (dots or underscores) is 1 or true."""
        names = (f"AzureWebJobs.{function}.Disabled", f"AzureWebJobs_{function}_Disabled")
        return any(self.value(name).lower() in _TRUE for name in names)


def load_settings_file(path: Path, environment: MutableMapping[str, str]) -> None:
    """Add the `Values` of a local.settings.json to `environment`; existing values are kept.

    As with Core Tools, an empty variable does not count as existing. A file without `Values` adds
    nothing.

    Raises:
        ConfigurationError: the file is missing, is encrypted, or has not the form that
            `func start` reads.
    """
    for name, value in read_local_settings(path, values_required=False).items():
        if not environment.get(name):
            environment[name] = value


def host_id(app: Path, settings: AppSettings) -> str:
    """Return `AzureFunctionsWebHost__hostid`, else a hash of the app's path; instances share it."""
    given = settings.value("AzureFunctionsWebHost__hostid")
    return given or hashlib.sha256(os.fsencode(app.resolve())).hexdigest()[:32]
