"""One shared stack for the runs that do not break it; each test starts its own hosts."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from loadtest.target.hosts import host_instances
from local.services.child import REPOSITORY
from tests.support.processes import local_command, running_stack, wait_for

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
    state = Path(standing_stack["state_dir"])

    @contextlib.contextmanager
    def start(*arguments: str | Path, instances: int = 1) -> Iterator[str]:
        before = len(host_instances(state))
        command = local_command(
            *("host", "--lifeline", "--port", "0", "--instances", str(instances)),
            *("--state-dir", state, "--settings", standing_stack["settings_file"], *arguments),
        )
        log = state / f"hosts-{os.urandom(4).hex()}.log"
        with (
            log.open("wb") as output,
            subprocess.Popen(
                command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=output, stderr=output
            ) as process,
        ):
            try:
                wait_for(
                    lambda: len(host_instances(state)) >= before + instances,
                    lambda: f"the start of {instances} instances:\n{log.read_text()}",
                )
                yield f"--target running --endpoints {state / 'endpoints.json'}"
            finally:
                process.terminate()
                assert process.wait(30) in {0, 143}, log.read_text()

    return start
