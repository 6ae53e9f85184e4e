"""Ports that are spoken for: several stacks that start at once must not choose the same one.

Between the choice of a port and its service's bind lie seconds, and more whenever the service
restarts; asking the kernel is no help then. One file of each user stands for all ports: who has
chosen one holds the lock on the byte of that number, and loses it however it ends.
"""

from __future__ import annotations

import fcntl
import functools
import os
import tempfile
from pathlib import Path

_reserved: set[int] = set()
"""This process's own, which the kernel would grant it again."""


def reserve(port: int) -> bool:
    """Reserve a port until this process ends; False if it is reserved, by whomever."""
    if port in _reserved or not _lock(port):
        return False
    _reserved.add(port)
    return True


def _lock(port: int) -> bool:
    """Whether no other process has it; without the file, or locks, nobody knows of another."""
    try:
        file = _file()
    except OSError:
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except (BlockingIOError, PermissionError):  # which of them, POSIX leaves open
        return False
    except OSError:
        return True
    return True


@functools.cache
def _file() -> int:
    # Never closed: closing any descriptor of a file gives up the process's locks on it.
    path = Path(tempfile.gettempdir(), f"breakwater-ports-{os.getuid()}")
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
