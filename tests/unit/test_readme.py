"""The README's settings are those of the code."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from breaker import BreakerSettings
from processing.settings import ProcessingSettings

README = (Path(__file__).parents[2] / "README.md").read_text()


def documented(prefix: str) -> dict[str, str]:
    """Name and default of every setting in the table that is headed with the prefix."""
    table = README.partition(f"| `{prefix}…` |")[2].partition("\n\n")[0]
    found: dict[str, str] = {}
    for row in table.splitlines()[2:]:
        names, _, defaults = row.strip("| ").split(" | ")
        values = [value.strip("` ") for value in defaults.rstrip("| ").split(", ")]
        found |= dict(zip(re.findall(r"`([A-Z_]+)`", names), values, strict=True))
    return found


@pytest.mark.parametrize(
    ("prefix", "settings"), [("PROCESSING_", ProcessingSettings), ("BREAKER_", BreakerSettings)]
)
def test_settings(prefix: str, settings: type) -> None:
    """Each setting is in the README with its default, and each in the README exists."""
    expected = {}
    for field in fields(settings):
        assert field.default is not MISSING
        default = field.default
        if default is None or default == ():
            text = "off" if field.name == "failure_ratio" else "–"  # noqa: RUF001
        elif isinstance(default, bool):
            text = str(default).lower()
        else:
            text = f"{default:g}" if isinstance(default, float) else str(default)
        expected[field.name.upper()] = text
    assert documented(prefix) == expected
