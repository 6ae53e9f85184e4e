"""`python -m local up`: in the foreground, or as a detached supervisor."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from breaker.configuration import npm
from breaker.configuration.carried import python_module
from local.stack.running import differences
from local.stack.stack import StackOptions
from local.stack.supervise import Outcome, supervise
from local.state_directory import StateDirectory

if TYPE_CHECKING:
    from rich.console import Console

_STOP_SECONDS = 20


class _TerminatedError(Exception):
    """SIGTERM or SIGHUP was received while this process waited for the supervisor."""


def run_foreground(options: StackOptions, console: Console, *, lifeline: bool) -> int:
    """Run the stack until Ctrl-C, SIGTERM or the end of the lifeline."""
    if problem := _npm_problem(options):
        return _print_outcome(Outcome(error=problem), options, console)
    printed = 0

    def report(outcome: Outcome) -> bool:
        nonlocal printed
        printed = _print_outcome(outcome, options, console)
        return True

    return asyncio.run(supervise(options, report, lifeline=lifeline)) or printed


def run_reporting(options: StackOptions, ready_fd: int, *, lifeline: bool) -> int:
    """Run the detached supervisor and write its outcome as JSON to `ready_fd`."""

    def report(outcome: Outcome) -> bool:
        try:
            os.write(ready_fd, json.dumps(vars(outcome)).encode() + b"\n")
        except OSError:
            return False
        finally:
            os.close(ready_fd)
        return True

    return asyncio.run(supervise(options, report, lifeline=lifeline))


def run_detached(
    options: StackOptions, arguments: Sequence[str], console: Console, *, lifeline: bool
) -> int:
    """Start the supervisor in a session of its own and wait until every service is healthy.

    Args:
        options: the options parsed from `arguments`.
        arguments: the arguments of this command, which the supervisor parses again.
        console: the console for the table or the error.
        lifeline: pass this process's standard input to the supervisor as its lifeline.
    """
    directory = options.directory
    if _other_is_up(directory):
        return _print_outcome(Outcome(already_up=True), options, console)
    if problem := _npm_problem(options):
        return _print_outcome(Outcome(error=problem), options, console)
    directory.logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    read_end, write_end = os.pipe()
    with directory.supervisor_log.open("ab") as log:
        supervisor = subprocess.Popen(
            [*python_module("local"), *arguments, "--ready-fd", str(write_end)],
            stdin=None if lifeline else subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(write_end,),
            start_new_session=True,
        )
    os.close(write_end)
    _on_termination(_raise_terminated)
    try:
        with os.fdopen(read_end, "rb") as answers:
            answer = answers.readline()
        _on_termination(signal.SIG_DFL)
    except (KeyboardInterrupt, _TerminatedError):
        _stop(supervisor)
        console.print("Interrupted. The stack was stopped.")
        return 130
    if not answer:
        code = supervisor.wait()
        outcome = Outcome(
            error=f"the supervisor ended with exit code {code}; see {directory.supervisor_log}"
        )
    else:
        outcome = Outcome(**json.loads(answer))
        if not outcome.is_up:
            _stop(supervisor)
    # The supervisor outlives this process, so this process does not reap the supervisor.
    supervisor.returncode = 0
    return _print_outcome(outcome, options, console)


def _npm_problem(options: StackOptions) -> str | None:
    """Install what the stack takes from npm, on first use; return the problem, if any."""
    packages = (npm.AZURITE, npm.UPLOT) if options.console else (npm.AZURITE,)
    try:
        for package in packages:
            npm.install(package)
    except npm.NpmError as error:
        return str(error)
    return None


def _print_outcome(outcome: Outcome, options: StackOptions, console: Console) -> int:
    # Imported here, because the detached supervisor prints no table.
    from rich.markup import escape  # noqa: PLC0415

    from local.stack.table import print_endpoints  # noqa: PLC0415

    directory = options.directory
    if outcome.error is not None:
        console.print(
            f"[red]Not started:[/] {escape(outcome.error)}", soft_wrap=True, highlight=False
        )
        return 1
    # Another `up` may have taken the lock after this one checked it.
    if outcome.already_up and not _other_is_up(directory):
        console.print("[red]Not started:[/] another `up` was in progress and failed.")
        return 1
    endpoints = directory.endpoints()
    if endpoints is None:
        console.print("[red]The stack was stopped while this command waited.[/]")
        return 1
    if outcome.already_up:
        if changes := differences(options, directory):
            lines = "\n".join(f"  {line}" for line in changes)
            console.print(
                f"[red]Not changed:[/] the stack is already up, without these options:\n"
                f"{escape(lines)}\nRun `breakwater down`, then `up` with all options; the data is "
                "kept.",
                soft_wrap=True,
                highlight=False,
            )
            return 1
        console.print("The stack is already up. To change it, run `breakwater down` first.")
    if outcome.note:
        console.print(escape(outcome.note), soft_wrap=True, highlight=False)
    print_endpoints(console, endpoints)
    return 0


def _other_is_up(directory: StateDirectory, timeout: float = 40) -> bool:
    """Return whether a stack is up here; wait while a stack is starting or stopping."""
    deadline = time.monotonic() + timeout
    while directory.is_locked() and time.monotonic() < deadline:
        if directory.endpoints() is not None:
            return True
        time.sleep(0.05)
    return False


def _stop(supervisor: subprocess.Popen[bytes]) -> None:
    supervisor.terminate()
    try:
        supervisor.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        supervisor.kill()
        supervisor.wait()


def _on_termination(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)


def _raise_terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    # `timeout` sends two signals; the second one must not interrupt the stop of the supervisor.
    _on_termination(lambda _number, _frame: None)
    raise _TerminatedError
