"""The stack's services as processes: found by `python -m local status`, then signalled."""

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
    """The services of the stack in one state directory, by their names in `status`."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir

    async def pid(self, name: str) -> int:
        """The process of a service.

        Raises:
            StackError: it is not up within 20 s, perhaps because its restarts keep failing.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                while (pid := await self._pid_now(name)) is None:  # noqa: ASYNC110 - a file
                    await asyncio.sleep(_POLL_SECONDS)
                return pid
        raise StackError(f"the service {name} has no process: see `local status`")

    async def end(self, name: str, number: signal.Signals) -> int:
        """Signal a service and wait for its end; its supervisor brings it back. The process id.

        Raises:
            StackError: it did not end within 20 s.
        """
        while True:
            pid = await self.pid(name)
            try:
                process = psutil.Process(pid)
                process.send_signal(number)
                await asyncio.to_thread(process.wait, _END_SECONDS)
            except psutil.NoSuchProcess:
                continue  # another fault was faster: this one hits its successor
            except psutil.TimeoutExpired:
                raise StackError(f"{name} ({pid}) did not end after {number.name}") from None
            return pid

    @contextlib.asynccontextmanager
    async def paused(self, name: str) -> AsyncIterator[int]:
        """Stop a service with SIGSTOP: connections stay, answers don't come. The process id."""
        pid = await self.pid(name)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        try:
            yield pid
        finally:
            with contextlib.suppress(ProcessLookupError):  # another fault may have killed it
                os.kill(pid, signal.SIGCONT)

    async def _pid_now(self, name: str) -> int | None:
        process = await asyncio.create_subprocess_exec(
            # without the partitions: storage may be what is paused
            *(sys.executable, "-m", "local", "status", "--json", "--services"),
            *("--state-dir", str(self._state_dir)),
            cwd=PROJECT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        said, _ = await process.communicate()
        for service in json.loads(said)["services"]:
            if service["name"] == name and isinstance(service["pid"], int):
                return int(service["pid"])
        return None
