"""Fixtures of the integration tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tests.support.event_hubs.fast_polling  # noqa: F401 - what it does when it is imported
from tests.support.own_cluster import running_cluster
from tests.support.processes import run_local


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a Redis Cluster with one node, which takes two seconds to start."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as url:
        yield url


@pytest.fixture
def state_directory(tmp_path: Path) -> Iterator[Path]:
    """Yield a state directory; a stack that still runs in it is stopped after the test."""
    path = tmp_path / "state"
    yield path
    run_local("down", "--state-dir", path)
