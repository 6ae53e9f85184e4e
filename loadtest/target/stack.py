"""A private local stack for one run, started and stopped by its public commands.

The stack has two child processes, `python -m local up` (Redis, Azurite, Event Hubs, cloud, console)
and `python -m local host` (the function app). Each child has its own session, so that Ctrl-C
reaches only the load test. Each child also ends when its standard input is closed (`--lifeline`),
so that it ends even if the load test is killed. The children are stopped in reverse order, and a
process that is left afterwards is an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Self

import psutil

from breaker.configuration import npm
from breaker.configuration.carried import IMPORT_ROOT, project_folder, python_module
from loadtest.errors import StackError, UsageError
from loadtest.plan.settings import WITH_REPLICA, Scenario, Settings
from loadtest.target.endpoints import Endpoints
from loadtest.target.hosts import host_instances

PROJECT = IMPORT_ROOT
"""The working directory of `python -m local` and the other commands."""

KEPT_STATE_DIR = Path(".local")
"""The directory of a stack that stays up; it is the default of the commands."""

_START_SECONDS = 90.0
_STOP_SECONDS = 30.0
_SLOW_STOP_SECONDS = 4.5
_LOG_LINES = 15


class Child:
    """One supervisor process with its log file and descendants."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    @classmethod
    async def start(
        cls, name: str, arguments: list[str], log: Path, folder: Path = PROJECT
    ) -> Child:
        """Start `python -m local <arguments>` in a folder, with its output in `log`."""
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(*python_module("local"), *arguments),
                cwd=folder,
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return cls(name, process, log)

    def check(self) -> None:
        """Raise StackError with the end of the log if the process has ended."""
        if self.process.returncode is not None:
            raise StackError(
                f"`local {self.name}` exited with code {self.process.returncode}; {self.tail()}"
            )

    def tail(self) -> str:
        """Return the end of the log, for an error message."""
        lines = self.log.read_text(errors="replace").strip().splitlines()[-_LOG_LINES:]
        return f"the end of {self.log}:\n" + "\n".join(f"  {line}" for line in lines)

    def family(self) -> set[psutil.Process]:
        """Return the process and its running descendants."""
        try:
            parent = psutil.Process(self.process.pid)
            return {parent, *parent.children(recursive=True)}
        except psutil.NoSuchProcess:
            return set()

    async def stop(self) -> None:
        """Terminate the process with SIGTERM, and after 30 s with SIGKILL."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


class Stack:
    """A private stack, started and stopped by an async context manager.

    Raises:
        StackError: a process did not start within 90 s, died, or was left after stopping.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._children: list[Child] = []
        self._endpoints: Endpoints | None = None
        if settings.keep:
            _refuse_data(KEPT_STATE_DIR)
        self.directory = _fresh_directory(settings.report.parent / ".stack")
        self.state_dir = KEPT_STATE_DIR.absolute() if settings.keep else self.directory / "state"
        # In its own folder the default directory has its settings beside it, as after `up`.
        self._folder = Path.cwd() if settings.keep else PROJECT

    @property
    def endpoints(self) -> Endpoints:
        """The endpoints of the stack, once started."""
        if self._endpoints is None:
            raise StackError("the stack has not been started")
        return self._endpoints

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stop()

    def check(self) -> None:
        """Raise StackError if a child process has ended."""
        for child in self._children:
            child.check()

    def host_logs(self) -> list[str]:
        """Return the text of the log of each host supervisor and its hosts."""
        return [log.read_text(errors="replace") for log in self.directory.glob("host*.log")]

    def discard(self) -> None:
        """Remove the directory with the logs and data."""
        shutil.rmtree(self.directory, ignore_errors=True)

    async def _start(self) -> None:
        settings = self._settings
        await asyncio.to_thread(_install_node_packages, console=settings.console)
        await self._child(
            "up",
            *("--foreground", "--lifeline", *self._options()),
            # Stop the app as slowly as Azure does; until then the gate alone holds events.
            *(
                "--stop-seconds",
                str(_SLOW_STOP_SECONDS if settings.scenario is Scenario.OUTAGE else 0),
            ),
        )
        file = self.state_dir / "endpoints.json"
        await self._until(file.exists, "the stack to write its endpoints")
        self._endpoints = Endpoints.read(file)
        await self._host(settings.instances)
        await self._until(
            lambda: len(host_instances(self.state_dir)) >= settings.instances,
            f"{settings.instances} host instances to start",
        )

    def _options(self) -> tuple[str, ...]:
        """Return the options of `up`, which are the same when the stack starts again."""
        settings = self._settings
        changes = [
            argument
            for name, value in settings.app_settings.items()
            for argument in ("--set", f"{name}={value}")
        ]
        return (
            *("--ephemeral-ports", "--state-dir", str(self.state_dir)),
            *("--partitions", str(settings.partitions)),
            *(() if settings.console else ("--no-console",)),
            *(("--redis-replica",) if settings.scenario in WITH_REPLICA else ()),
            *changes,
        )

    async def start_again(self) -> None:
        """Start the stopped stack with its data, without a host, so that it outlives this process.

        Raises:
            StackError: the stack did not start.
        """
        child = await self._child("up", *self._options())
        try:
            async with asyncio.timeout(_START_SECONDS):
                code = await child.process.wait()
        except TimeoutError:
            code = None
        self._children.clear()
        if code != 0:
            await child.stop()
            raise StackError(f"the stack did not start again with the run's data; {child.tail()}")
        self._endpoints = Endpoints.read(self.state_dir / "endpoints.json")

    async def add_host(self) -> None:
        """Start another host instance under its own supervisor, without waiting for it."""
        await self._host(1)

    async def _host(self, instances: int) -> None:
        settings = self._settings
        app = ("--app", str((settings.app or project_folder()).resolve()))
        lease = () if settings.lease_seconds is None else ("--lease", str(settings.lease_seconds))
        await self._child(
            "host",
            *("--instances", str(instances), "--lifeline", "--port", "0"),
            *("--state-dir", str(self.state_dir), *app, *lease),
            *("--settings", str(self.endpoints.settings_file)),
        )

    async def _child(self, *arguments: str) -> Child:
        name = arguments[0]
        earlier = sum(child.name == name for child in self._children)
        log = self.directory / (f"{name}-{earlier + 1}.log" if earlier else f"{name}.log")
        child = await Child.start(name, list(arguments), log, self._folder)
        self._children.append(child)
        return child

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not condition():
                    self.check()
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise StackError(
                f"timed out after {_START_SECONDS:g} s waiting for {what}; "
                f"{self._children[-1].tail()}"
            ) from None

    async def _stop(self) -> None:
        family = set[psutil.Process]().union(*(child.family() for child in self._children))
        for child in reversed(self._children):
            await child.stop()
        self._children.clear()
        if not self._settings.keep:  # a person may look at the files of the default directory
            family |= processes_naming(self.state_dir)
        _, alive = await asyncio.to_thread(psutil.wait_procs, list(family), 5)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if alive:
            names = ", ".join(f"{process.pid} ({process.name()})" for process in alive)
            raise StackError(f"processes were left running and have been killed: {names}")


def _refuse_data(directory: Path) -> None:
    if any((directory / "data").glob("*")):
        raise UsageError(
            f"--keep uses {directory}, which has the data of another stack; delete it with "
            "`breakwater down --wipe`, or run without --keep"
        )


def _install_node_packages(*, console: bool) -> None:
    """Install what the stack takes from npm, on first use, without its limit of 90 s.

    Raises:
        StackError: npm is missing or failed.
    """
    try:
        for package in (npm.AZURITE, npm.UPLOT) if console else (npm.AZURITE,):
            npm.install(package)
    except npm.NpmError as error:
        raise StackError(str(error)) from None


def processes_naming(directory: Path) -> set[psutil.Process]:
    """Return the other processes whose command line contains a directory."""
    found = set()
    for process in psutil.process_iter(["cmdline"]):
        if process.pid == os.getpid():
            continue
        if any(str(directory) in argument for argument in process.info["cmdline"] or ()):
            found.add(process)
    return found


def _fresh_directory(parent: Path) -> Path:
    """Make a directory named after this process; remove directories of ended processes."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--report takes a file in a writable directory ({error})") from None
    for old in parent.iterdir():
        owner = old.name.partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=parent)).resolve()
