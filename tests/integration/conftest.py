"""What the integration tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tests.support.event_hubs.fast_polling  # noqa: F401 - what it does when it is imported
from tests.support.processes import run_local


@pytest.fixture
def state_directory(tmp_path: Path) -> Iterator[Path]:
    """A stack's directory; whatever is up in it at the end of the test is taken down."""
    path = tmp_path / "state"
    yield path
    run_local("down", "--state-dir", path)
