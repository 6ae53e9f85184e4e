"""One shared stack for the runs that do not break it; each test starts its own hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import pytest

from tests.support.local.hosts import running_hosts
from tests.support.processes import running_stack

type Hosts = Callable[..., AbstractContextManager[str]]


@pytest.fixture(scope="session")
def standing_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Run a stack without hosts and yield its endpoints.json."""
    directory = tmp_path_factory.mktemp("standing")
    with running_stack(directory, "--set", "BREAKER_FAILURE_THRESHOLD=28") as endpoints:
        yield endpoints


@pytest.fixture(scope="session")
def hosts(standing_stack: dict[str, Any]) -> Hosts:
    """Return a context manager that runs `python -m local host` on the stack.

    `hosts("--lease", "3", instances=2)` yields the options of a load test on the running stack.
    Leaving the context manager ends the hosts.
    """
    return partial(running_hosts, standing_stack)
