"""Reserved ports: stacks that start at the same time must not choose the same port.

Seconds pass between the choice of a port and the service's bind, and again at each restart of the
service. The kernel reports the port as free during that time. Therefore one file of each user
represents all ports: a process that has chosen a port locks the byte of that number. The kernel
releases the lock when the process ends for any reason.
"""

from __future__ import annotations

import fcntl
import functools
import os
import tempfile
from pathlib import Path

_reserved: set[int] = set()
"""The ports of this process; the kernel would grant their locks to this process again."""


def reserve(port: int) -> bool:
    """Reserve a port until this process ends; return False if any process has reserved it."""
    if port in _reserved or not _lock(port):
        return False
    _reserved.add(port)
    return True


def _lock(port: int) -> bool:
    """Return whether no other process holds the lock; True without the file or without locks."""
    try:
        file = _file()
    except OSError:
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except (BlockingIOError, PermissionError):  # POSIX allows either error
        return False
    except OSError:
        return True
    return True


@functools.cache
def _file() -> int:
    # Never closed: closing any descriptor of a file releases the process's locks on the file.
    path = Path(tempfile.gettempdir(), f"breakwater-ports-{os.getuid()}")
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
