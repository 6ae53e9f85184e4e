"""Every setting is where people look: README, example file and infra name what the code knows."""

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
    "EVENT_HANDLER",
}
"""What `ConnectionSettings` reads; connections by identity have several names each."""

KEYS = {"AzureWebJobsStorage", "EventHubConnection", "EVENT_GRID_TOPIC_KEY"}
"""Not in infra, where connections are by identity."""

PLATFORM = {
    *("APPLICATIONINSIGHTS_CONNECTION_STRING", "APPLICATIONINSIGHTS_AUTHENTICATION_STRING"),
    *("PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY", "AZURE_CLIENT_ID"),
}
"""Read by the platform's own libraries."""

NONE = "–"  # noqa: RUF001


def setting_names() -> set[str]:
    """Every setting that the code knows."""
    own = {
        prefix + field.name.upper()
        for prefix, settings in PREFIXES.items()
        for field in fields(settings)
    }
    return own | CONNECTIONS


def documented(prefix: str) -> dict[str, str]:
    """Name and default of every setting in the table that is headed with the prefix."""
    table = README.partition(f"| `{prefix}…` |")[2].partition("\n\n")[0]
    found: dict[str, str] = {}
    for row in table.splitlines()[2:]:
        names, _, defaults = row.strip("| ").split(" | ")
        values = [value.strip("` ") for value in defaults.rstrip("| ").split(", ")]
        found |= dict(zip(re.findall(r"`([A-Z_]+)`", names), values, strict=True))
    return found


def as_text(field: Field[Any]) -> str:
    """A default as the tables write it."""
    default = field.default
    if default in (MISSING, None, (), ""):
        return "off" if field.name == "failure_ratio" else NONE
    if isinstance(default, tuple):
        return " ".join(default)
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_readme(prefix: str) -> None:
    """Each setting is in the README with its default, and each in the README exists."""
    expected = {field.name.upper(): as_text(field) for field in fields(PREFIXES[prefix])}
    assert documented(prefix) == expected


def test_readme_connections() -> None:
    """The first table has the connections."""
    table = README.partition("| setting | takes | default |")[2].partition("\n\n")[0]
    first = "\n".join(row.split(" | ")[0] for row in table.splitlines())
    assert set(re.findall(r"`(\w+)`", first)) == CONNECTIONS


def example() -> dict[str, str]:
    """The settings of local.settings.example.json."""
    file = ROOT / "local.settings.example.json"
    values: dict[str, str] = json.loads(file.read_text())["Values"]
    return values


def test_example_file() -> None:
    """It names every setting and no other but the worker's; its settings build."""
    assert example().keys() == setting_names() | {"FUNCTIONS_WORKER_RUNTIME"}
    ConnectionSettings.from_mapping(example())
    for settings in PREFIXES.values():
        settings.from_mapping(example())


def in_infra() -> dict[str, str]:
    """Name to value of every setting that the Bicep gives app or console."""
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


def test_infra() -> None:
    """Infra gives every setting, those of an identity instead of keys, and none unknown."""
    by_identity = {name for name in in_infra() if "__" in name}
    assert in_infra().keys() - by_identity - PLATFORM == setting_names() - KEYS
    assert {name.partition("__")[0] for name in by_identity} == {
        "AzureWebJobsStorage",
        "EventHubConnection",
    }


def test_infra_keeps_the_defaults() -> None:
    """A setting that infra only spells out has its default there, so that nobody is misled."""
    infra = ROOT / "infra"
    values = json.loads((infra / "settings.json").read_text())
    values |= json.loads((infra / "console-settings.json").read_text())
    # The only way to the console's port there is Container Apps' own proxy.
    assert values.pop("CONSOLE_PROXIES") == "*"
    for prefix, settings in PREFIXES.items():
        for field in fields(settings):
            default = as_text(field)
            expected = "" if default in {"off", NONE} else default
            name = prefix + field.name.upper()
            assert values.get(name, expected) == expected, name
