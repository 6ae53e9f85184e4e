"""Names and defaults of the settings in README, example file and infra, equal to the code's."""

from __future__ import annotations

import json
import re
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import pytest

from breaker import BreakerSettings
from console.settings import ConsoleSettings
from processing.settings import ConnectionSettings, ProcessingSettings
from processing.site.settings import SiteSettings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PREFIXES: dict[str, Any] = {
    "PROCESSING_": ProcessingSettings,
    "BREAKER_": BreakerSettings,
    "CONSOLE_": ConsoleSettings,
}
CONNECTIONS = {
    *("AzureWebJobsStorage", "EventHubConnection", "EVENT_HUB_NAME", "EVENT_HUB_CONSUMER_GROUP"),
    *("REDIS_URL", "EVENT_GRID_TOPIC_ENDPOINT", "EVENT_GRID_TOPIC_KEY", "POISON_QUEUE"),
    *("EVENT_HANDLER", "FUNCTION_APP_URL", "BreakwaterStorage"),
}
"""Settings that `ConnectionSettings` and `SiteSettings` read.

Connections by identity have several names each.
"""

KEYS = {"AzureWebJobsStorage", "BreakwaterStorage", "EventHubConnection", "EVENT_GRID_TOPIC_KEY"}
"""Settings that infra does not set, because its connections are by identity."""

PLATFORM = {
    *("APPLICATIONINSIGHTS_CONNECTION_STRING", "APPLICATIONINSIGHTS_AUTHENTICATION_STRING"),
    *("PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY", "AZURE_CLIENT_ID"),
}
"""Settings that the platform's own libraries read."""

NONE = "–"  # noqa: RUF001


def setting_names() -> set[str]:
    """Return the names of all settings that the code reads."""
    own = {
        prefix + field.name.upper()
        for prefix, settings in PREFIXES.items()
        for field in fields(settings)
    }
    return own | CONNECTIONS


def documented(prefix: str) -> dict[str, str]:
    """Return name and default of each setting in the README's table for the prefix."""
    table = README.partition(f"| `{prefix}…` |")[2].partition("\n\n")[0]
    found: dict[str, str] = {}
    for row in table.splitlines()[2:]:
        names, _, defaults = row.strip("| ").split(" | ")
        values = [value.strip("` ") for value in defaults.rstrip("| ").split(", ")]
        found |= dict(zip(re.findall(r"`([A-Z_]+)`", names), values, strict=True))
    return found


def as_text(field: Field[Any]) -> str:
    """Return a default as the README's tables write it."""
    default = field.default
    if default in (MISSING, None, (), ""):
        return "off" if field.name == "failure_ratio" else NONE
    if isinstance(default, tuple):
        return " ".join(default)
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_readme_lists_each_setting_with_its_default(prefix: str) -> None:
    """The README lists no other setting."""
    expected = {field.name.upper(): as_text(field) for field in fields(PREFIXES[prefix])}
    assert documented(prefix) == expected


def test_readme_lists_the_connections() -> None:
    """The first table of settings has these names, PIPELINES, and no other."""
    table = README.partition("| setting | takes | default |")[2].partition("\n\n")[0]
    first = "\n".join(row.split(" | ")[0] for row in table.splitlines())
    assert set(re.findall(r"`(\w+)`", first)) == CONNECTIONS | {"PIPELINES"}


def example() -> dict[str, str]:
    """Return the settings of local.settings.example.json."""
    file = ROOT / "local.settings.example.json"
    values: dict[str, str] = json.loads(file.read_text())["Values"]
    return values


def test_example_file_lists_every_setting() -> None:
    """The file's only other setting is the worker's, and its settings can be built."""
    assert example().keys() == setting_names() | {"FUNCTIONS_WORKER_RUNTIME"}
    # A placeholder such as <namespace> is refused until the operator has written a name.
    filled = {name: re.sub(r"<(\w+)>", r"\1", value) for name, value in example().items()}
    ConnectionSettings.from_mapping(filled)
    SiteSettings.from_mapping(filled)
    for settings in PREFIXES.values():
        settings.from_mapping(filled)


def in_infra() -> dict[str, str]:
    """Return name and value of each setting that the Bicep files give the app or the console."""
    infra = ROOT / "infra"
    found: dict[str, str] = {}
    for name in ("settings.json", "console-settings.json"):
        found |= json.loads((infra / name).read_text())
    for name in ("function-app.bicep", "console.bicep"):
        text = (infra / "modules" / name).read_text()
        block = re.search(r"union\(loadJsonContent.*?^\s*}\)", text, re.DOTALL | re.MULTILINE)
        assert block is not None, name
        found |= dict(re.findall(r"^\s+(\w+): (.+)$", block[0], re.MULTILINE))
        found |= dict.fromkeys(re.findall(r"name: '(CONSOLE_TOKEN)'", text), "")
    return found


def test_infra_sets_every_setting() -> None:
    """Settings of an identity replace the keys, and no unknown setting is set."""
    by_identity = {name for name in in_infra() if "__" in name}
    assert in_infra().keys() - by_identity - PLATFORM == setting_names() - KEYS
    assert {name.partition("__")[0] for name in by_identity} == {
        "AzureWebJobsStorage",
        "BreakwaterStorage",
        "EventHubConnection",
    }


def test_infra_keeps_the_defaults() -> None:
    """A setting that infra repeats must have the code's default, so that no reader is misled."""
    infra = ROOT / "infra"
    values = json.loads((infra / "settings.json").read_text())
    values |= json.loads((infra / "console-settings.json").read_text())
    # In Container Apps only the platform's own proxy can reach the console's port.
    assert values.pop("CONSOLE_PROXIES") == "*"
    for prefix, settings in PREFIXES.items():
        for field in fields(settings):
            default = as_text(field)
            expected = "" if default in {"off", NONE} else default
            name = prefix + field.name.upper()
            assert values.get(name, expected) == expected, name
