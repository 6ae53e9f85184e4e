"""A Redis with a replica behind one address: the replica, and the proxy that has the address."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from local.services.health import Probe
from local.services.ports import LOOPBACK
from local.services.redis import find_redis_server, redis_arguments
from local.services.service import Service

REPLICATION = (
    # A replica that starts, or that comes back from a failover, has the data at once.
    *("--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"),
    *("--repl-backlog-size", "64mb"),
)
"""The arguments of each server of the pair."""


def replica_arguments(port: int, directory: Path, primary: int) -> list[str]:
    """Return the arguments of a replica of the server on the port `primary`."""
    own = redis_arguments(port, directory)
    return [*own, *REPLICATION, "--replicaof", LOOPBACK, str(primary)]


def replica_service(port: int, directory: Path, primary: int) -> Service:
    """Return the replica, which is healthy once it has the primary's data."""
    return Service(
        name="redis-replica",
        command=(find_redis_server(), *replica_arguments(port, directory, primary)),
        ports={"redis-replica": port},
        probes=(Probe("redis", port), Probe("redis-linked", port)),
        after=("redis",),
    )


def proxy_service(port: int, control_port: int, servers: Sequence[int]) -> Service:
    """Return the proxy (local/redis_proxy)."""
    command = (sys.executable, "-m", "local.redis_proxy", "--port", str(port))
    targets = [argument for server in servers for argument in ("--server", str(server))]
    return Service(
        name="redis-proxy",
        command=(*command, "--control-port", str(control_port), *targets),
        ports={"redis-proxy": port, "redis-proxy-control": control_port},
        probes=(Probe("http", control_port), Probe("redis", port)),
        after=("redis",),
    )
