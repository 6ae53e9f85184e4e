"""`python -m local host`: N host instances that run while the site's state is Running."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
from pathlib import Path

from local.functions_host.logs import configure_logging
from local.functions_host.options import add_balancing, add_extension, add_grace
from local.lifeline import LifelineError, stop_requested
from local.services import Service, StartError, Supervisor
from local.site import SiteState
from local.state_directory import DEFAULT_STATE_DIR, StateDirectory

_log = logging.getLogger("Host.Supervisor")
_POLL_SECONDS = 0.1
_SETTINGS = "local.settings.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `python -m local host`."""
    parser.add_argument(
        "--instances", type=_count, default=1, metavar="N", help="host processes (default: 1)"
    )
    parser.add_argument(
        "--app",
        type=Path,
        default=Path(),
        help="folder with function_app.py (default: current folder)",
    )
    parser.add_argument(
        "--state-dir",
        type=Path,
        default=DEFAULT_STATE_DIR,
        help=f"the stack's folder with the site's state (default: {DEFAULT_STATE_DIR})",
    )
    parser.add_argument(
        "--settings", type=Path, help="a local.settings.json (default: the stack's file)"
    )
    parser.add_argument(
        "--port",
        type=int,
        default=7071,
        help="HTTP port of the first instance; each other instance adds 1 (default: 7071; 0: any "
        "free ports)",
    )
    parser.add_argument(
        "--lifeline", action="store_true", help="stop when standard input is closed"
    )
    parser.add_argument("--verbose", action="store_true", help="log every batch")
    add_grace(parser)
    add_balancing(parser)
    add_extension(parser)


def run(args: argparse.Namespace) -> int:
    """Run the instances until a signal or the end of the lifeline; return the exit code."""
    configure_logging("", verbose=args.verbose)
    try:
        return asyncio.run(_run(args))
    except LifelineError as error:
        _log.error("%s", error)
        return 1


async def _run(args: argparse.Namespace) -> int:
    async with stop_requested(lifeline=args.lifeline) as stop:
        return await Instances(args).run(stop)


class Instances:
    """The host instances of one site, which run while the site's state is Running."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._state_dir: Path = args.state_dir.absolute()
        self._site = SiteState(self._state_dir)
        self._supervisor = Supervisor(
            [self._service(index) for index in range(args.instances)],
            self._state_dir / "logs",
            on_give_up=self._fail,
            start_seconds=None,
            # An instance waits `grace` seconds for its functions and needs up to 2 s more to end.
            stop_seconds=args.grace + 2,
        )
        self._starting: asyncio.Task[None] | None = None
        self._running: bool | None = None  # unknown before the site's state was read
        self._failed = asyncio.Event()
        self._problem = ""

    async def run(self, stop: asyncio.Event) -> int:
        """Run until `stop` is set or an instance fails for good; return the exit code."""
        if hint := self._no_stack():
            _log.warning("%s", hint)
        try:
            while not stop.is_set() and not self._failed.is_set():
                await self._follow_site()
                if self._starting is not None and self._starting.done():
                    self._starting.result()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _POLL_SECONDS)
        finally:
            await self._stop_all()
        return 1 if self._failed.is_set() else 0

    def _no_stack(self) -> str:
        """Return a hint to start the stack; "" when the stack is up or --settings is given."""
        if self._args.settings is not None or StateDirectory(self._state_dir).is_locked():
            return ""
        option = "" if self._is_default() else f" --state-dir {self._args.state_dir}"
        return f"no local stack is up; start one with `python -m local up{option}`"

    def _is_default(self) -> bool:
        return self._state_dir == DEFAULT_STATE_DIR.absolute()

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
        args = self._args
        command = [sys.executable, "-m", "local.functions_host", "--app", str(args.app.absolute())]
        if settings := self._settings():
            command += ["--settings", str(settings)]
        command += ["--hosts", str(self._state_dir / "hosts"), "--index", str(index)]
        command += ["--port", str(args.port + index if args.port else 0)]
        command += ["--grace", str(args.grace), "--lease", str(args.lease)]
        command += ["--balance-interval", str(args.balance_interval)]
        command += ["--event-hubs-extension", args.event_hubs_extension]
        if args.instances > 1:
            command += ["--label", f"[{index}]"]
        if args.verbose:
            command.append("--verbose")
        return command

    def _settings(self) -> Path | None:
        """Return the given settings file, else the stack's, else the app's; None without a file."""
        if self._args.settings is not None:
            return Path(self._args.settings).absolute()
        folder = Path.cwd() if self._is_default() else self._state_dir
        candidates = (folder / _SETTINGS, self._args.app.absolute() / _SETTINGS)
        return next((path for path in candidates if path.is_file()), None)


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"--instances takes 1 to 64, not {text!r}")
    return int(text)
