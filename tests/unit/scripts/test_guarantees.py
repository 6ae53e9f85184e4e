"""docs/guarantees.md: each guarantee names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_each_guarantee_names_a_test_that_exists() -> None:
    """A renamed test would leave a promise that nothing holds."""
    text = (ROOT / "docs" / "guarantees.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    promises = [row for row in rows if not row.startswith(("|---", "| what goes wrong"))]
    sources = "\n".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))
    defined = set(re.findall(r"^ *(?:async )?def (test_\w+)", sources, re.MULTILINE))
    assert promises
    for row in promises:
        named = re.findall(r"`(test_\w+)`", row.rpartition(" | ")[2])
        assert named, f"names no test: {row}"
        assert set(named) <= defined, f"names a test that does not exist: {row}"
