"""`python -m local status`: probes the recorded services."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from local.partitions import read_partitions
from local.services.health import Probe, all_answer
from local.services.process import ProcessIdentity
from local.state_directory import StateDirectory


async def read_status(directory: StateDirectory, *, partitions: bool = True) -> dict[str, Any]:
    """Return {"up", "supervisor_pid", "services", "hosts": [pid, ...], "partitions", "problems"}.

    "up" is true when the supervisor runs and every service is healthy. A service is {"name",
    "health": "healthy"|"starting"|"restarting"|"not answering"|"failed"|"dead", "pid", "ports",
    "uptime_seconds", "restarts", "problem"}. "partitions" and "problems" are those of
    `local.partitions.read_partitions`, which queries storage and the hub; both are empty if
    `partitions` is false.
    """
    supervisor, records = directory.recorded()
    running = supervisor is not None and supervisor.alive()
    owned, *services = await asyncio.gather(
        _partitions(directory, wanted=partitions), *(_service(record) for record in records)
    )
    return {
        "up": running and bool(services) and all(s["health"] == "healthy" for s in services),
        "supervisor_pid": supervisor.pid if supervisor and running else None,
        "services": list(services),
        "hosts": directory.live_hosts(),
        **owned,
    }


async def _partitions(directory: StateDirectory, *, wanted: bool) -> dict[str, Any]:
    if not wanted:
        return {"partitions": [], "problems": []}
    return await asyncio.to_thread(read_partitions, directory)


async def _service(record: dict[str, Any]) -> dict[str, Any]:
    identity = ProcessIdentity.from_record(record)
    alive = identity is not None and identity.alive()
    started_at = record["started_at"]
    return {
        "name": record["name"],
        "health": await _health(record, alive=alive),
        "pid": identity.pid if identity and alive else None,
        "ports": record["ports"],
        "uptime_seconds": round(time.time() - started_at, 1) if alive and started_at else None,
        "restarts": record["restarts"],
        "problem": record["problem"],
    }


async def _health(record: dict[str, Any], *, alive: bool) -> str:
    if not alive:
        return record["state"] if record["state"] in {"restarting", "failed"} else "dead"
    if await all_answer(Probe.from_dict(probe) for probe in record["probes"]):
        return "healthy"
    return "starting" if record["state"] == "starting" else "not answering"
