"""The two sides of the suite: tests of the app, and tests of what runs and measures it.

`make test-app` runs the first, `make test-local` the second. Each test belongs to exactly one side,
by the beginning of its path; a test that belongs to none stops the collection.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

APP, LOCAL = "app", "local"

_TIERS = ("unit", "contract", "integration")
_PACKAGES = {
    "breaker": APP,
    "breakwater": APP,
    "processing": APP,
    "console": APP,
    "benchmarks": LOCAL,
    "infra": LOCAL,
    "loadtest": LOCAL,
    "local": LOCAL,
    "scripts": LOCAL,
}
_PATHS = {
    **{f"{tier}/{package}/": side for tier in _TIERS for package, side in _PACKAGES.items()},
    "browser/": APP,
    "chain/": LOCAL,
    "cases/": APP,
    "chaos/": LOCAL,
    "e2e/": APP,
    "e2e/test_interruption.py": LOCAL,
    "e2e/test_sweep.py": LOCAL,
    "integration/test_run.py": LOCAL,
    "integration/wheels/": LOCAL,
    "model/": APP,
    "unit/test_": APP,
}
"""Beginnings of paths below tests/; the longest one that fits decides."""


def side_of(nodeid: str) -> str:
    """Return the side of a test.

    Raises:
        UsageError: the table does not name the test's directory.
    """
    path = nodeid.removeprefix("tests/")
    fitting = [beginning for beginning in _PATHS if path.startswith(beginning)]
    if not fitting:
        raise pytest.UsageError(
            f"{nodeid} belongs neither to `make test-app` nor to `make test-local`: "
            "name its directory in tests/support/sides.py"
        )
    return _PATHS[max(fitting, key=len)]


def mark_sides(items: Iterable[pytest.Item]) -> None:
    """Give each test the marker of its side."""
    for item in items:
        item.add_marker(side_of(item.nodeid))
