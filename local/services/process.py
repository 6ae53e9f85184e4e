"""Processes that end with their parent, and identities that survive the reuse of process ids."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import psutil

_PR_SET_PDEATHSIG = 1
# Loaded before any fork, because a forked child must not import modules.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True)
class ProcessIdentity:
    """A process id with its start time, because the id alone may belong to a later process."""

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> Self:
        """Return the identity of a running process.

        Raises:
            ProcessLookupError: no process has this id.
        """
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.Error as error:
            raise ProcessLookupError(f"no process {pid}") from error

    @classmethod
    def from_record(cls, record: Mapping[str, Any] | None) -> Self | None:
        """Parse {"pid", "created"}; None for anything else, such as a service that is not up."""
        if not isinstance(record, Mapping):
            return None
        pid, created = record.get("pid"), record.get("created")
        if isinstance(pid, int) and isinstance(created, int | float):
            return cls(pid, float(created))
        return None

    def alive(self) -> bool:
        """Return whether exactly this process runs; a zombie counts as dead."""
        try:
            process = psutil.Process(self.pid)
            # Two clocks give slightly different start times; no id is reused within the tolerance.
            same = abs(process.create_time() - self.created) < 0.5
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def send(self, number: signal.Signals) -> None:
        """Send a signal to this process; do nothing if the id belongs to another process."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def end_with_parent(number: signal.Signals = signal.SIGKILL) -> Callable[[], None] | None:
    """Return a `preexec_fn` that has the kernel signal the child when this process ends (Linux).

    The kernel watches the *thread* that forked, so call this function and start the child in the
    main thread. Other systems return None, and `down` ends the recorded children.
    """
    if _LIBC is None:
        return None
    libc, parent = _LIBC, os.getpid()

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent:  # the parent ended between the fork and the line above
            os._exit(1)

    return prepare


async def wait_gone(identities: Iterable[ProcessIdentity], timeout: float) -> bool:
    """Wait until no process runs; return False when one still runs after `timeout` seconds."""
    waiting = list(identities)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout):
            while any(identity.alive() for identity in waiting):  # noqa: ASYNC110 - not our children
                await asyncio.sleep(0.02)
    return not any(identity.alive() for identity in waiting)


async def end_all(identities: Iterable[ProcessIdentity], grace_seconds: float) -> None:
    """Send SIGTERM to all processes, wait, send SIGKILL to the remaining ones, and wait."""
    waiting = list(identities)
    for identity in waiting:
        identity.send(signal.SIGTERM)
    if not await wait_gone(waiting, grace_seconds):
        for identity in waiting:
            identity.send(signal.SIGKILL)
        await wait_gone(waiting, grace_seconds)
