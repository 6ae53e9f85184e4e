"""`python -m local host`: N host instances that run while the site's state is Running."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os

from breaker.configuration.carried import python_module
from local.functions_host.changes import changes
from local.functions_host.errors import HostError
from local.functions_host.logs import configure_logging
from local.functions_host.options import HostOptions
from local.functions_host.stack_watch import StackWatch
from local.lifeline import LifelineError, stop_requested
from local.services import Service, StartError, Supervisor
from local.site import SiteState
from local.state_directory import StateDirectory

_log = logging.getLogger("Host.Supervisor")
_POLL_SECONDS = 0.1


def run(options: HostOptions) -> int:
    """Run the instances until a signal or the end of the lifeline; return the exit code."""
    configure_logging("", verbose=options.verbose)
    try:
        return asyncio.run(_run(options))
    except (HostError, LifelineError) as error:
        _log.error("%s", error)
        return 1


async def _run(options: HostOptions) -> int:
    async with stop_requested(lifeline=options.lifeline) as stop:
        return await Instances(options).run(stop)


class Instances:
    """The host instances of one site, which run while the site's state is Running."""

    def __init__(self, options: HostOptions) -> None:
        self._options = options
        self._state_dir = options.state_dir.absolute()
        self._site = SiteState(self._state_dir)
        self._supervisor = self._new_supervisor()
        self._starting: asyncio.Task[None] | None = None
        self._running: bool | None = None  # unknown before the site's state was read
        self._failed = asyncio.Event()
        self._problem = ""
        self._changed: list[str] = []
        self._stack = StackWatch(
            StateDirectory(self._state_dir), options.settings_file(), os.environ
        )
        self._has_other_keys = False

    async def run(self, stop: asyncio.Event) -> int:
        """Run until `stop` is set or an instance fails for good; return the exit code."""
        if hint := self._options.no_stack_hint():
            _log.warning("%s", hint)
        watching = asyncio.create_task(self._watch()) if self._options.reload else None
        try:
            while not stop.is_set() and (watching is not None or not self._failed.is_set()):
                if watching is not None and watching.done():
                    watching.result()
                self._follow_stack()
                if self._has_other_keys:
                    return 1
                if self._changed:
                    await self._reload()
                await self._follow_site()
                if self._starting is not None and self._starting.done():
                    self._starting.result()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _POLL_SECONDS)
        finally:
            if watching is not None:
                watching.cancel()
            await self._stop_all()
        return 1 if self._failed.is_set() else 0

    def _new_supervisor(self) -> Supervisor:
        return Supervisor(
            [self._service(index) for index in range(self._options.instances)],
            self._state_dir / "logs",
            on_give_up=self._fail,
            start_seconds=None,
            # An instance waits `grace` seconds for its functions and needs up to 2 s more to end.
            stop_seconds=self._options.grace + 2,
        )

    async def _watch(self) -> None:
        async for files in changes(self._options.app.absolute(), self._state_dir):
            self._changed += files

    async def _reload(self) -> None:
        """Stop the instances; the loop of `run` starts them again with the changed app."""
        files, self._changed = self._changed, []
        _log.info("%s changed; the instances start again", ", ".join(files))
        await self._stop_all()
        self._failed.clear()
        # A new supervisor, because a load error after an earlier start would be retried endlessly.
        self._supervisor = self._new_supervisor()

    def _follow_stack(self) -> None:
        """Notice a stack with other keys, which ends this host, and changed settings."""
        change = self._stack.change()
        if change is not None and change.problem:
            _log.error("%s; this host ends", change.problem)
            self._has_other_keys = True
        elif change is not None:
            self._changed += change.settings

    async def _follow_site(self) -> None:
        try:
            wanted = self._site.read() == "Running"
        except ValueError as error:
            if str(error) != self._problem:  # log each problem once, not at every poll
                _log.error("%s", error)
            self._problem = str(error)
            return
        self._problem = ""
        if wanted and not self._running:
            self._running = True
            self._starting = asyncio.create_task(self._start_all())
        elif not wanted and self._running is not False:
            _log.info("the site is stopped; its instances run again after it is started")
            await self._stop_all()

    async def _start_all(self) -> None:
        try:
            await self._supervisor.start()
        except StartError as error:
            # The output already has the instance's own message.
            _log.error("the host did not start: %s", error)
            self._fail()

    def _fail(self) -> None:
        self._failed.set()
        if self._options.reload:
            _log.info("the instances start again after the next change of the app's files")

    async def _stop_all(self) -> None:
        self._running = False
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
            self._starting = None
        await self._supervisor.stop()

    def _service(self, index: int) -> Service:
        return Service(
            name=f"instance {index}",
            command=tuple(self._command(index)),
            foreground=True,
            ready_file=lambda pid: self._state_dir / "hosts" / f"{pid}.json",
            fatal_exit_code=1,  # the app could not be loaded; a retry would fail too
            restarts_endlessly=True,  # one event that ends its process must not end the whole app
        )

    def _command(self, index: int) -> list[str]:
        options = self._options
        command = [*python_module("local.functions_host")]
        command += ["--app", str(options.app.absolute())]
        if settings := options.settings_file():
            command += ["--settings", str(settings)]
        command += ["--hosts", str(self._state_dir / "hosts"), "--index", str(index)]
        command += ["--port", str(options.port + index if options.port else 0)]
        command += ["--grace", str(options.grace), "--lease", str(options.balancing.lease_seconds)]
        command += ["--balance-interval", str(options.balancing.interval_seconds)]
        command += ["--event-hubs-extension", options.event_hubs_extension]
        if options.instances > 1:
            command += ["--label", f"[{index}]"]
        if options.verbose:
            command.append("--verbose")
        return command
