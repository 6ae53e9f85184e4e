"""A Redis Cluster of the tests of one process, with one node that owns all slots."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from local.services.ports import free_port
from local.services.redis import find_redis_server, redis_arguments
from tests.support.patience import HANG_SECONDS


@contextmanager
def running_cluster(directory: Path) -> Iterator[str]:
    """Yield the address of the cluster."""
    # The cluster bus uses the port 10,000 higher, which must not be an ephemeral port.
    port = next(port for port in iter(free_port, 0) if port < 22_000)
    with (directory / "log").open("wb") as log, redis.Redis(port=port) as client:
        server = subprocess.Popen(
            [find_redis_server(), *redis_arguments(port, directory), "--cluster-enabled", "yes"],
            stdout=log,
            stderr=log,
        )
        try:
            while True:
                try:
                    client.execute_command("CLUSTER ADDSLOTS", *range(16384))
                    break
                except redis.exceptions.ConnectionError:
                    assert server.poll() is None, (directory / "log").read_text()
                    time.sleep(0.02)
            while "ok" not in str(client.execute_command("CLUSTER INFO")["cluster_state"]):
                time.sleep(0.02)
            yield f"redis://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(HANG_SECONDS)
