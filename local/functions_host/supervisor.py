"""`python -m local host`: N host instances, kept as the site state wants them."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

from local.functions_host.logs import configure_logging
from local.functions_host.options import add_balancing, add_grace
from local.lifeline import LifelineError, watch_stdin
from local.services.process import end_with_parent
from local.services.restarts import RestartBudget
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
        "--app", type=Path, default=Path(), help="folder with function_app.py (default: this one)"
    )
    parser.add_argument(
        "--state-dir",
        type=Path,
        default=DEFAULT_STATE_DIR,
        help=f"the stack's folder: site state, instances (default: {DEFAULT_STATE_DIR})",
    )
    parser.add_argument(
        "--settings", type=Path, help="a local.settings.json (default: what the stack wrote)"
    )
    parser.add_argument(
        "--port",
        type=int,
        default=7071,
        help="of the first instance, the others count up (default: 7071; 0: free ones)",
    )
    parser.add_argument("--lifeline", action="store_true", help="stop when standard input ends")
    parser.add_argument("--verbose", action="store_true", help="log every batch")
    add_grace(parser)
    add_balancing(parser)


def run(args: argparse.Namespace) -> int:
    """Run the instances until a signal or the lifeline's end; return the exit code."""
    configure_logging("", verbose=args.verbose)
    return asyncio.run(Supervisor(args).run())


@dataclass
class _Child:
    """One instance's place: its process while there is one, and how often it may come back.

    `has_run` is set once a process of it has announced itself: the app can be loaded.
    """

    index: int
    has_run: bool = False
    budget: RestartBudget = field(default_factory=RestartBudget)
    process: asyncio.subprocess.Process | None = None
    watcher: asyncio.Task[None] | None = None


class Supervisor:
    """Starts, watches, restarts and stops instances."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._state_dir: Path = args.state_dir.absolute()
        self._site = SiteState(self._state_dir)
        self._stop = asyncio.Event()
        self._children = [_Child(index) for index in range(args.instances)]
        self._wanted: bool | None = None  # unknown before the first look at the site's state
        self._exit_code = 0
        self._problem = ""

    async def run(self) -> int:
        """Run until a signal, the lifeline's end, or an instance that cannot be kept up."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        try:
            lifeline = await watch_stdin(self._stop.set) if self._args.lifeline else None
        except LifelineError as error:
            _log.error("%s", error)
            return 1
        if hint := self._no_stack():
            _log.warning("%s", hint)
        try:
            while not self._stop.is_set():
                await self._follow_site()
                self._note_running()
                try:
                    await asyncio.wait_for(self._stop.wait(), _POLL_SECONDS)
                except TimeoutError:
                    continue
        finally:
            await self._stop_all()
            if lifeline is not None:
                lifeline.close()
        return self._exit_code

    def _no_stack(self) -> str:
        """What to do when the stack is not up; empty when it is, or other settings were named."""
        if self._args.settings is not None or StateDirectory(self._state_dir).is_locked():
            return ""
        option = "" if self._is_default() else f" --state-dir {self._args.state_dir}"
        return f"no local stack is up: start it with `python -m local up{option}`"

    def _is_default(self) -> bool:
        return self._state_dir == DEFAULT_STATE_DIR.absolute()

    async def _follow_site(self) -> None:
        try:
            wanted = self._site.read() == "Running"
        except ValueError as error:
            if str(error) != self._problem:  # not at every look
                _log.error("%s", error)
            self._problem = str(error)
            return
        self._problem = ""
        if wanted and not self._wanted:
            self._wanted = True
            await asyncio.gather(*(self._start(child) for child in self._children))
        elif not wanted and self._wanted is not False:
            _log.info("the site is stopped: no instance runs until it is started")
            await self._stop_all()

    def _note_running(self) -> None:
        for child in self._children:
            if child.process is not None and self._announcement(child.process).exists():
                child.has_run = True

    def _announcement(self, process: asyncio.subprocess.Process) -> Path:
        return self._state_dir / "hosts" / f"{process.pid}.json"

    async def _start(self, child: _Child) -> None:
        child.process = await asyncio.create_subprocess_exec(
            *self._command(child.index),
            stdin=asyncio.subprocess.DEVNULL,
            preexec_fn=end_with_parent(),
            # A group of its own: Ctrl-C reaches the supervisor, which then stops its instances.
            start_new_session=True,
        )
        child.watcher = asyncio.get_running_loop().create_task(self._watch(child, child.process))

    async def _watch(self, child: _Child, process: asyncio.subprocess.Process) -> None:
        """Wait for the end; while the instance is wanted, bring it back a few times."""
        code = await process.wait()
        self._note_running()
        child.process = None
        self._announcement(process).unlink(missing_ok=True)
        if not self._wanted:
            return
        if code == 1 and not child.has_run:
            # Its message is in the log, and another try would end in the same way.
            _log.error("instance %d could not start", child.index)
            self._fail()
            return
        delay = child.budget.next_delay()
        if delay is None:
            _log.error(
                "instance %d ended %d times within %g seconds (last with code %d): giving up",
                child.index,
                child.budget.limit + 1,
                child.budget.window_seconds,
                code,
            )
            self._fail()
            return
        _log.warning("instance %d ended with code %d: restarting", child.index, code)
        await asyncio.sleep(delay)
        if self._wanted:
            await self._start(child)

    def _fail(self) -> None:
        self._exit_code = 1
        self._stop.set()

    async def _stop_all(self) -> None:
        self._wanted = False
        await asyncio.gather(*(self._stop_one(child) for child in self._children))

    async def _stop_one(self, child: _Child) -> None:
        """TERM, wait for the grace period, KILL."""
        if child.process is None:
            if child.watcher is not None:
                child.watcher.cancel()
                await asyncio.wait([child.watcher])
            return
        process = child.process
        process.terminate()
        try:
            # A second more than the instance takes for its functions, for its own end.
            await asyncio.wait_for(process.wait(), self._args.grace + 2)
        except TimeoutError:
            _log.warning("instance %d did not stop in time and is killed", child.index)
            process.kill()
            await process.wait()
        if child.watcher is not None:
            await asyncio.wait([child.watcher])

    def _command(self, index: int) -> list[str]:
        args = self._args
        command = [sys.executable, "-m", "local.functions_host", "--app", str(args.app.absolute())]
        if settings := self._settings():
            command += ["--settings", str(settings)]
        command += ["--hosts", str(self._state_dir / "hosts"), "--index", str(index)]
        command += ["--port", str(args.port + index if args.port else 0)]
        command += ["--grace", str(args.grace), "--lease", str(args.lease)]
        command += ["--balance-interval", str(args.balance_interval)]
        if args.instances > 1:
            command += ["--label", f"[{index}]"]
        if args.verbose:
            command.append("--verbose")
        return command

    def _settings(self) -> Path | None:
        """The file given, or where the stack writes it; None when there is none at all."""
        if self._args.settings is not None:
            return Path(self._args.settings).absolute()
        folder = Path.cwd() if self._is_default() else self._state_dir
        candidates = (folder / _SETTINGS, self._args.app.absolute() / _SETTINGS)
        return next((path for path in candidates if path.is_file()), None)


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"--instances takes 1 to 64, not {text!r}")
    return int(text)
