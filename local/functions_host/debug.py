"""`host --debug`: one host instance in this process, with the terminal and without time limits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import termios
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from breaker.configuration.errors import ConfigurationError
from local.functions_host.changes import changes
from local.functions_host.debugger import DEBUG_VARIABLE, open_debuggers
from local.functions_host.errors import AppLoadError, HostError
from local.functions_host.host import Host
from local.functions_host.logs import configure_logging
from local.functions_host.options import HostOptions
from local.functions_host.site.instance import Instance, InstanceOptions
from local.functions_host.stack_watch import StackWatch
from local.site import SiteState
from local.state_directory import StateDirectory

_log = logging.getLogger("Host.Debugger")
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class _Beginning:
    """The folder and the environment in which this process began, for its next start."""

    folder: Path
    environment: Mapping[str, str]

    def again(self, *, listens: bool) -> NoReturn:
        """Replace this process by a new one with the same command, id and terminal.

        Args:
            listens: whether debugpy listens for an editor. Then debugpy's own `execve` would
                connect the new process to the old one.
        """
        sys.stdout.flush()
        os.chdir(self.folder)
        execve = getattr(os, "original_execve", os.execve) if listens else os.execve
        execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], self.environment)
        raise AssertionError("the process was replaced")


def run(options: HostOptions, port: int | None) -> NoReturn:
    """Run the host until a signal; end the process, because a stopped function may still run.

    Args:
        options: the options of the host.
        port: loopback port for an editor's debugger, 0 for any free port; None: no port.
    """
    configure_logging("", verbose=options.verbose)
    beginning = _Beginning(Path.cwd(), dict(os.environ))
    restore_terminal = _terminal_restorer()
    os.environ[DEBUG_VARIABLE] = "1"
    if hint := options.no_stack_hint():
        _log.warning("%s", hint)
    if others := StateDirectory(options.state_dir.absolute()).live_hosts():
        _log.warning(
            "other hosts run on this stack (process ids %s); they take over partitions while this "
            "host stops at a breakpoint: end them first",
            ", ".join(map(str, others)),
        )
    watch = StackWatch(
        StateDirectory(options.state_dir.absolute()), options.settings_file(), dict(os.environ)
    )
    try:
        _refuse_other_keys(watch)
        open_debuggers(port)
        code = asyncio.run(_run(options, watch))
    except (HostError, ConfigurationError) as error:
        _log.error("%s", error)
        code = 1
    restore_terminal()
    if code is None:
        beginning.again(listens=port is not None)
    sys.stdout.flush()
    os._exit(code)


def _terminal_restorer() -> Callable[[], None]:
    """Return what gives the terminal its present modes again.

    A function in a thread that stands at the debugger's prompt has switched off the echo, and
    never ends.
    """
    try:
        modes = termios.tcgetattr(sys.stdin.fileno())
    except (OSError, ValueError, termios.error):  # standard input is no terminal, or closed
        return lambda: None

    def restore() -> None:
        with contextlib.suppress(OSError, ValueError, termios.error):
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, modes)

    return restore


def _refuse_other_keys(watch: StackWatch) -> None:
    change = watch.change()
    if change is not None and change.problem:
        raise HostError(change.problem)


async def _run(options: HostOptions, watch: StackWatch) -> int | None:
    """Return the exit code; None: start again."""
    watching = None
    if options.reload:
        watching = asyncio.create_task(_first_change(options))
        await asyncio.sleep(0)  # begin to watch before the app is loaded
        if watching.done():
            watching.result()
    instance = DebuggedInstance(options, watching, watch)
    try:
        code = await instance.run()
    except AppLoadError as error:
        _log.error("%s\n%s", error, error.details.rstrip())
        if watching is None:
            return 1
        _log.info("the host starts again after the next change of the app's files")
        await watching
        return None
    if instance.has_other_keys:
        return 1
    return None if instance.reloads else code


async def _first_change(options: HostOptions) -> list[str]:
    app, state = options.app.absolute(), options.state_dir.absolute()
    async with contextlib.aclosing(changes(app, state)) as found:
        return await anext(found)


class DebuggedInstance(Instance):
    """A host instance that follows the site's state, and stops after a change of the app.

    Args:
        options: the options of the host.
        change: the task that ends at the first change of the app's files; None: changes are not
            watched.
        stack: compares the host's settings with those of its stack.

    Attributes:
        reloads: whether the instance stopped because of a change.
        has_other_keys: whether the instance stopped because its stack has other keys.
    """

    def __init__(
        self,
        options: HostOptions,
        change: asyncio.Task[list[str]] | None,
        stack: StackWatch,
    ) -> None:
        super().__init__(
            InstanceOptions(
                app=options.app,
                settings=options.settings_file(),
                hosts=options.state_dir.absolute() / "hosts",
                port=options.port,
                grace=options.grace,
                balancing=options.balancing,
                event_hubs_extension=options.event_hubs_extension,
                time_limits=False,
            )
        )
        self._site = SiteState(options.state_dir.absolute())
        self._change = change
        self._stack = stack
        self.reloads = False
        self.has_other_keys = False

    async def _until_stopped(self, host: Host) -> None:
        tasks = [asyncio.create_task(self._follow_site(host))]
        if self._change is not None:
            tasks.append(asyncio.create_task(self._stop_after(self._change)))
        try:
            await super()._until_stopped(host)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _stop_after(self, change: asyncio.Task[list[str]]) -> None:
        try:
            files = await asyncio.shield(change)
        except Exception:
            _log.exception("changes of the app's files are no longer noticed")
            return
        _log.info("%s changed; the host starts again", ", ".join(files))
        self.reloads = True
        os.kill(os.getpid(), signal.SIGTERM)  # the app's own handler of SIGTERM runs, too

    def _follow_stack(self) -> None:
        """End at other keys; start again with changed settings."""
        change = self._stack.change()
        if change is None:
            return
        if change.problem:
            _log.error("%s; this host ends", change.problem)
            self.has_other_keys = True
        else:
            _log.info("%s changed; the host starts again", ", ".join(change.settings))
            self.reloads = True
        os.kill(os.getpid(), signal.SIGTERM)

    async def _follow_site(self, host: Host) -> None:
        """Start no work while the site is stopped; the process stays, with its debugger."""
        problem = ""
        while True:
            self._follow_stack()
            try:
                state = self._site.read()
                problem = ""
            except ValueError as error:
                if str(error) != problem:
                    _log.error("%s", error)
                problem, state = str(error), "Running"
            if state != "Running" and not host.draining:
                _log.info("the site is stopped; this host starts no work until it is started")
                await host.drain()
            elif state == "Running" and host.draining:
                await host.resume()
            await asyncio.sleep(_POLL_SECONDS)
