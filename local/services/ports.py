"""The loopback ports of the stack, and checks that ports are free."""

from __future__ import annotations

import contextlib
import errno
import secrets
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from local.services.port_reservation import reserve

LOOPBACK = "127.0.0.1"

DEFAULT_PORTS: Mapping[str, int] = {
    "redis": 16379,
    "blob": 10000,
    "queue": 10001,
    "table": 10002,
    "event-hubs": 5672,
    "event-hubs-control": 5300,
    "cloud": 7080,
    "console": 7090,
}
"""Port by name; `--port-<name>` changes the port, and 0 takes any free port."""

_LOCAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


class PortError(Exception):
    """A port cannot be used; the message names the port, its service and the remedy."""


@dataclass(frozen=True)
class PortChoice:
    """The requested ports, by names of `DEFAULT_PORTS`; other names keep their defaults."""

    asked: Mapping[str, int]
    ephemeral: bool = False

    def resolve(self, kept: Mapping[str, int] | None = None) -> dict[str, int]:
        """Return a free port for every name.

        Args:
            kept: the ports of an earlier run by name, which are used again if no other port is
                requested, so that addresses stay valid. Any free port takes the place of a kept
                port that another program has taken, if the choice is `ephemeral`.

        Raises:
            PortError: a port is taken, out of range, or requested twice.
        """
        unknown = set(self.asked) - set(DEFAULT_PORTS)
        if unknown:
            raise PortError(
                f"unknown port names {sorted(unknown)}; known names are {sorted(DEFAULT_PORTS)}"
            )
        default = dict.fromkeys(DEFAULT_PORTS, 0) if self.ephemeral else dict(DEFAULT_PORTS)
        ports = default | self._usable(kept or {}) | dict(self.asked)
        _refuse_duplicates(ports)
        for name, port in ports.items():
            if port:
                ensure_free(name, port)
        for name in (name for name, port in ports.items() if not port):
            ports[name] = free_port(avoid=ports.values())
        return ports

    def _usable(self, kept: Mapping[str, int]) -> dict[str, int]:
        """Return the kept ports of known names; for ephemeral ports only those that are free."""
        again = {name: port for name, port in kept.items() if name in DEFAULT_PORTS}
        if not self.ephemeral:
            return again
        return {name: port for name, port in again.items() if same_port(port) is not None}


def _refuse_duplicates(ports: Mapping[str, int]) -> None:
    owners: dict[int, str] = {}
    for name, port in ports.items():
        if port and (other := owners.setdefault(port, name)) != name:
            raise PortError(f"--port-{other} and --port-{name} both request port {port}")


def ensure_free(name: str, port: int) -> None:
    """Raise PortError unless this process can listen on `port` now."""
    if not 0 < port < 65536:
        raise PortError(f"--port-{name} takes 1 to 65535 (0: any free port), not {port}")
    try:
        _bind(port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortError(
                f"port {port} for {name} is taken{_holder(port)}; choose another with "
                f"--port-{name} PORT, or use free ports for all services with --ephemeral-ports"
            ) from None
        raise PortError(
            f"port {port} for {name} cannot be used: {error.strerror}; choose another with "
            f"--port-{name} PORT"
        ) from None


def free_port(*, avoid: Iterable[int] = ()) -> int:
    """Return a free loopback port outside the kernel's range for outgoing connections.

    A connection could take a port of that range between this call and the child's bind, and again
    whenever the child restarts. For the same reason the port stays reserved until this process
    ends: no other process of this user gets the port from this function.
    """
    low, high = _quiet_range()
    taken = set(avoid)
    for _ in range(1000):
        port = low + secrets.randbelow(high - low)
        if port not in taken and reserve(port):
            with contextlib.suppress(OSError):
                _bind(port)
                return port
    raise PortError(f"no free port between {low} and {high}")


def same_port(port: int) -> int | None:
    """Return a port of an earlier run if it is free and no other process reserved it, else None."""
    if reserve(port):
        with contextlib.suppress(OSError):
            _bind(port)
            return port
    return None


def _quiet_range() -> tuple[int, int]:
    try:
        first = int(_LOCAL_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        first = 32768
    return (20000, min(first, 32768)) if first > 22000 else (61000, 65536)


def _bind(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((LOOPBACK, port))


def _holder(port: int) -> str:
    """Return the holder of `port` as " by process 12 (name)"; "" if this user cannot see it."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            listening = connection.status == psutil.CONN_LISTEN
            if listening and connection.pid and _port_of(connection.laddr) == port:
                return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return ""


def _port_of(address: object) -> object:
    return getattr(address, "port", None)
