"""Fixtures of the integration tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tests.support.event_hubs.fast_polling  # noqa: F401 - what it does when it is imported
from tests.support.processes import run_local


@pytest.fixture
def state_directory(tmp_path: Path) -> Iterator[Path]:
    """Yield a state directory; a stack that still runs in it is stopped after the test."""
    path = tmp_path / "state"
    yield path
    run_local("down", "--state-dir", path)
