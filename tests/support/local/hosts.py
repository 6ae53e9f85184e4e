"""Function hosts on a running stack, as `python -m local host` starts them."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loadtest.target.hosts import host_instances
from local.services.child import REPOSITORY
from tests.support.processes import local_command, wait_for


@contextlib.contextmanager
def running_hosts(
    endpoints: dict[str, Any], *arguments: str | Path, instances: int = 1
) -> Iterator[str]:
    """Run hosts on a stack, and yield the options of a load test on it; end the hosts at the end.

    Args:
        endpoints: the content of the stack's endpoints.json.
        arguments: further options of `python -m local host`.
        instances: number of hosts.
    """
    state = Path(endpoints["state_dir"])
    before = len(host_instances(state))
    command = local_command(
        *("host", "--lifeline", "--port", "0", "--instances", str(instances)),
        *("--state-dir", state, "--settings", endpoints["settings_file"], *arguments),
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
