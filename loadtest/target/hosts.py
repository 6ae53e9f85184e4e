"""The function host's instances, as registered in the state directory."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import psutil

from loadtest.errors import StackError


@dataclass(frozen=True, slots=True)
class HostInstance:
    """One running host process; `port` serves its HTTP functions."""

    pid: int
    instance: str
    port: int = 0


def host_instances(state_dir: Path) -> list[HostInstance]:
    """Return the registered instances that are running, sorted by instance name."""
    found = []
    for file in (state_dir / "hosts").glob("*.json"):
        try:
            values = json.loads(file.read_text())
            port = int(values.get("port", 0))
            instance = HostInstance(int(values["pid"]), str(values["instance"]), port)
        except (OSError, ValueError, KeyError):
            continue  # the instance is removing the file
        if psutil.pid_exists(instance.pid):
            found.append(instance)
    return sorted(found, key=lambda host: host.instance)


def kill_one(state_dir: Path) -> HostInstance:
    """Send SIGKILL to the first instance, so that it cannot release its leases.

    Raises:
        StackError: no instance is running.
    """
    for host in host_instances(state_dir):
        if signal_host(host, signal.SIGKILL):
            return host
    raise StackError(f"no host instance to kill in {state_dir / 'hosts'}")


def signal_host(host: HostInstance, number: signal.Signals) -> bool:
    """Signal an instance; return False if the instance has already ended."""
    try:
        os.kill(host.pid, number)
    except ProcessLookupError:
        return False
    return True
