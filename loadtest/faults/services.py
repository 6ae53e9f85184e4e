"""The stack's service processes, found by `python -m local status` and then signalled."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil

from loadtest.errors import StackError
from loadtest.target.stack import PROJECT

_POLL_SECONDS = 0.05
_END_SECONDS = 20.0


class Services:
    """The services of one state directory's stack, by their names in `local status`."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir

    async def pid(self, name: str) -> int:
        """Return the process id of a service, waiting up to 20 s for a restart.

        Raises:
            StackError: the service has no process after 20 s.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                while (pid := await self._pid_now(name)) is None:  # noqa: ASYNC110 - a file
                    await asyncio.sleep(_POLL_SECONDS)
                return pid
        raise StackError(
            f"the service {name} has had no process for {_END_SECONDS:g} s; see `local status`"
        )

    async def end(self, name: str, number: signal.Signals) -> int:
        """Signal a service, wait until the process ends, and return its process id.

        The service's supervisor restarts the service.

        Raises:
            StackError: the process did not end within 20 s.
        """
        while True:
            pid = await self.pid(name)
            try:
                process = psutil.Process(pid)
                process.send_signal(number)
                await asyncio.to_thread(process.wait, _END_SECONDS)
            except psutil.NoSuchProcess:
                continue  # another fault has ended the process; signal the restarted one
            except psutil.TimeoutExpired:
                raise StackError(
                    f"{name} ({pid}) did not end within {_END_SECONDS:g} s of {number.name}"
                ) from None
            return pid

    @contextlib.asynccontextmanager
    async def paused(self, name: str) -> AsyncIterator[int]:
        """Pause a service with SIGSTOP and yield its process id; its connections stay open."""
        pid = await self.pid(name)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        try:
            yield pid
        finally:
            with contextlib.suppress(ProcessLookupError):  # another fault may kill the process
                os.kill(pid, signal.SIGCONT)

    async def _pid_now(self, name: str) -> int | None:
        process = await asyncio.create_subprocess_exec(
            # Leave out the partitions, because reading them fails while storage is paused.
            *(sys.executable, "-m", "local", "status", "--json", "--services"),
            *("--state-dir", str(self._state_dir)),
            cwd=PROJECT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        output, _ = await process.communicate()
        for service in json.loads(output)["services"]:
            if service["name"] == name and isinstance(service["pid"], int):
                return int(service["pid"])
        return None
