"""The supervisor process: starts the stack, restarts crashed services, stops the stack."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from breaker.configuration.pipelines import PipelineError
from local.event_hubs.hub.partition_files import DamagedFileError
from local.files import write_json
from local.lifeline import LifelineError, stop_requested
from local.services import StartError, Supervisor
from local.services.ports import PortError
from local.services.process import ProcessIdentity, end_all
from local.settings_file import write_settings_file
from local.stack.kept import Kept, KeptDataError
from local.stack.running import write_running
from local.stack.stack import Stack, StackOptions, compose
from local.state_directory import AlreadyUpError, StateDirectory

_log = logging.getLogger(__name__)
_SERVICE_STOP_SECONDS = 10
"""Less than `down` waits for the supervisor; a service needs time to write its data."""
_PROBLEMS = (
    *(PortError, StartError, FileNotFoundError, LifelineError),
    *(KeptDataError, DamagedFileError, PipelineError),
)


@dataclass(frozen=True)
class Outcome:
    """The result of a start: up, already up (by another supervisor), or an error."""

    error: str | None = None
    already_up: bool = False
    note: str | None = None

    @property
    def is_up(self) -> bool:
        """True if a stack is up."""
        return self.error is None


async def supervise(
    options: StackOptions, report: Callable[[Outcome], bool], *, lifeline: bool = False
) -> int:
    """Run the stack until a signal or the end of the lifeline; return the exit code.

    Args:
        options: the services to run and their directory.
        report: called once with the result of the start; returns False when the command that
            started the stack has ended, and then the stack is stopped.
        lifeline: stop when standard input is closed.
    """
    directory = options.directory
    try:
        with directory.lock(attempts=4):
            await end_leftovers(directory)
            if options.wipe:
                directory.wipe_data()
            directory.clear()
            try:
                return await _run(options, report, lifeline=lifeline)
            finally:
                directory.forget()
    except AlreadyUpError:
        report(Outcome(already_up=True))
        return 0
    except _PROBLEMS as error:
        _log.error("the stack did not start: %s", error)
        report(Outcome(error=str(error)))
        return 1


async def _run(options: StackOptions, report: Callable[[Outcome], bool], *, lifeline: bool) -> int:
    directory = options.directory
    me = ProcessIdentity.of(os.getpid())

    def record(services: list[dict[str, Any]]) -> None:
        directory.record(me, services)

    record([])
    async with stop_requested(lifeline=lifeline) as stop:
        kept = Kept.read(directory)
        stack = compose(options, kept, me.pid)
        replace(kept, ports={**kept.ports, **stack.ports}).write(directory)
        supervisor = Supervisor(
            stack.services, directory.logs, record, stop_seconds=_SERVICE_STOP_SECONDS
        )
        try:
            if not await _start_unless(stop, supervisor):
                report(Outcome(error="stopped before every service was healthy"))
                return 1
            if not report(Outcome(note=_write_files(options, stack))):
                _log.warning("the command that started this stack has ended; stopping the stack")
                return 1
            _log.info("every service is healthy; the stack is up")
            await stop.wait()
            _log.info("stopping the stack")
        finally:
            directory.endpoints_file.unlink(missing_ok=True)
            await supervisor.stop()
    return 0


async def end_leftovers(directory: StateDirectory) -> list[str]:
    """End the children that outlived their supervisor and return their names.

    On Linux the kernel ends the children. On other systems, or when a child has cleared its death
    signal, this function finds the children in the record. Call it while the directory is locked
    or its supervisor is dead.
    """
    _, services = directory.recorded()
    found = [(record, ProcessIdentity.from_record(record)) for record in services]
    alive = [(record["name"], identity) for record, identity in found if identity]
    alive = [(name, identity) for name, identity in alive if identity.alive()]
    await end_all([identity for _, identity in alive], grace_seconds=3)
    return [name for name, _ in alive]


async def _start_unless(stop: asyncio.Event, supervisor: Supervisor) -> bool:
    """Start every service; return False when `stop` was set first."""
    starting = asyncio.create_task(supervisor.start())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not starting.done():
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError, StartError):
            await starting
        return False
    await starting
    return True


def _write_files(options: StackOptions, stack: Stack) -> str | None:
    """Write the settings, then endpoints.json, whose presence means that the stack is ready."""
    backup = write_settings_file(options.settings_file, stack.values)
    write_running(options, stack)
    write_json(options.directory.endpoints_file, stack.endpoints)
    return f"Renamed your own {options.settings_file.name} to {backup}." if backup else None
