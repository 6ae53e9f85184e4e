"""The identity of a process, and the question of whether a process has died."""

from __future__ import annotations

import hashlib
import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

_PROC = Path("/proc")
_UNKNOWN = "-"
_START = 19
"""Index of the start time behind the program's name in `/proc/<pid>/stat` (proc(5), field 22)."""
_DEAD_STATES = ("Z", "X", "x")
"""States of a process that has ended but still has an entry in `/proc`."""


@dataclass(frozen=True, slots=True)
class ProcessName:
    """The name of a process, which no other process ever has.

    Attributes:
        machine: hash of the host name, of the machine's boot and of the namespace of its process
            ids; two containers differ.
        pid: the process id on that machine.
        started: the start time in clock ticks since the boot, which tells two processes with one id
            apart; "-": the platform does not show the time.
    """

    machine: str
    pid: int
    started: str

    @classmethod
    def current(cls) -> Self:
        """Return the name of this process."""
        pid = os.getpid()
        found = _stat(pid)
        return cls(_machine(), pid, found[1] if found is not None else _UNKNOWN)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the name that `str` wrote.

        Raises:
            ValueError: the text is no name of a process.
        """
        machine, pid, started = text.split("/")
        return cls(machine, int(pid), started)

    def __str__(self) -> str:
        return f"{self.machine}/{self.pid}/{self.started}"

    def has_died(self) -> bool | None:
        """Return whether the process has died; None: the process runs on another machine."""
        if self.machine != _machine() or self.started == _UNKNOWN or not _PROC.is_dir():
            return None
        found = _stat(self.pid)
        return found is None or found[1] != self.started or found[0] in _DEAD_STATES


def _stat(pid: int) -> tuple[str, str] | None:
    """Return the state and the start time of a process of this machine; None: there is none."""
    try:
        text = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    # The program's name stands in parentheses, and may contain blanks and parentheses.
    fields = text.rpartition(")")[2].split()
    return fields[0], fields[_START]


@cache
def _machine() -> str:
    parts = [socket.gethostname()]
    try:
        parts.append((_PROC / "sys/kernel/random/boot_id").read_text().strip())
        parts.append(str((_PROC / "self/ns/pid").readlink()))
    except OSError:  # not Linux, or a sandbox: a random name is the name of no other machine
        parts.append(os.urandom(8).hex())
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:12]
