"""One running child process: its start, its health and its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from breaker.configuration.carried import IMPORT_ROOT
from local.services.health import all_answer
from local.services.process import ProcessIdentity, end_with_parent
from local.services.service import Service

_POLL_SECONDS = 0.05
REPOSITORY = IMPORT_ROOT
"""The working directory of the services, where `python -m` finds the packages first."""
_OWN_PREFIXES = ("BREAKER_", "PROCESSING_", "CONSOLE_", "EVENT_HUB", "EVENT_GRID_", "CLOUD_")


class EndedAtOnceError(Exception):
    """The process ended before its identity was read; the message has the exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"ended with {describe_exit(code)}")
        self.code = code


class Child:
    """A started service in a session of its own, so that a terminal's Ctrl-C does not reach it."""

    def __init__(
        self, service: Service, process: asyncio.subprocess.Process, identity: ProcessIdentity
    ) -> None:
        self.service = service
        self.identity = identity
        self._process = process

    @classmethod
    async def start(cls, service: Service, log: Path) -> Child:
        """Start the service; unless it is a foreground service, its output is appended to `log`.

        Raises:
            OSError: the program cannot be run.
            EndedAtOnceError: the process has already ended.
        """
        if service.foreground:
            process = await _spawn(service, cwd=None, environment=os.environ, output=None)
        else:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as output:
                process = await _spawn(
                    service, cwd=REPOSITORY, environment=_inherited_environment(), output=output
                )
        try:
            identity = ProcessIdentity.of(process.pid)
        except ProcessLookupError:
            raise EndedAtOnceError(await process.wait()) from None
        return cls(service, process, identity)

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        return self._process.returncode

    @property
    def has_ready_file(self) -> bool:
        """Return whether the process has written its ready file."""
        file = self.service.ready_file
        return file is not None and file(self.identity.pid).exists()

    async def wait(self) -> int:
        """Wait for the end of the process; return the exit code, negative for a signal."""
        return await self._process.wait()

    async def wait_healthy(self, timeout: float | None) -> str | None:
        """Wait until the service answers; return None, or the problem (exit or timeout) as text.

        Args:
            timeout: seconds; None waits until the service answers or exits.
        """
        ended = asyncio.ensure_future(self.wait())
        try:
            async with asyncio.timeout(timeout):
                while not await self._is_ready():
                    done, _ = await asyncio.wait([ended], timeout=_POLL_SECONDS)
                    if done:
                        return f"ended with {describe_exit(ended.result())}"
        except TimeoutError:
            return f"did not answer within {timeout:g} s"
        finally:
            ended.cancel()
        # Another program may hold the port and may have answered in place of this child.
        if self._process.returncode is not None:
            return f"ended with {describe_exit(self._process.returncode)}"
        return None

    async def stop(self, grace_seconds: float) -> bool:
        """Send SIGTERM, wait up to `grace_seconds`, then send SIGKILL to the rest of the group.

        Returns:
            Whether the process ended within its grace period.
        """
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self._process.wait()
        in_time = self.exit_code is not None
        self.sweep()
        await self._process.wait()
        return in_time

    def sweep(self) -> None:
        """Kill the remaining processes of the group and remove the ready file."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.identity.pid, signal.SIGKILL)
        if self.service.ready_file is not None:
            self.service.ready_file(self.identity.pid).unlink(missing_ok=True)

    async def _is_ready(self) -> bool:
        if self.service.ready_file is not None and not self.has_ready_file:
            return False
        return await all_answer(self.service.probes)


async def _spawn(
    service: Service,
    *,
    cwd: Path | None,
    environment: Mapping[str, str],
    output: BinaryIO | None,
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *service.command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd=cwd,
        env={**environment, **service.environment},
        start_new_session=True,
        preexec_fn=end_with_parent(service.death_signal),
    )


def describe_exit(code: int) -> str:
    """Return an exit code as text: "exit code 1", "signal SIGKILL"."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _inherited_environment() -> dict[str, str]:
    """Return this environment without app settings, which come from the stack's options only.

    The output of Python children is unbuffered, so that a crash loses no log line.
    """
    names = ("REDIS_URL", "AzureWebJobsStorage", "POISON_QUEUE")
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_OWN_PREFIXES) and name not in names
    }
    return inherited | {"PYTHONUNBUFFERED": "1"}
