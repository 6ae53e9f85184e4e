"""The project's processes in tests: start, wait, and end every process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from local.services.child import REPOSITORY
from local.services.health import all_answer
from local.services.service import Service
from tests.support.forked import run_module
from tests.support.patience import HANG_SECONDS


def local_command(*arguments: str | Path) -> list[str]:
    """Return the command line of `python -m local ...`."""
    return [sys.executable, "-m", "local", *map(str, arguments)]


def run_local(
    *arguments: str | Path, cwd: Path = REPOSITORY, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run `python -m local ...` to its end."""
    environment = _with_repository()
    return run_module("local", *arguments, timeout=timeout, environment=environment, directory=cwd)


def _with_repository() -> dict[str, str]:
    """Return the environment in which another folder's Python finds the packages."""
    return os.environ | {"PYTHONPATH": f"{REPOSITORY}:{os.environ.get('PYTHONPATH', '')}"}


@contextlib.contextmanager
def running_service(
    service: Service, directory: Path, *, timeout: float = HANG_SECONDS
) -> Iterator[None]:
    """Run one service of the stack without the supervisor; its log is in `directory`."""
    log = directory / f"{service.name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            service.command,
            cwd=REPOSITORY,
            env=os.environ | dict(service.environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + timeout
        while not _healthy(service):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{service.name} is not up:\n{log.read_text()}")
            time.sleep(0.03)
        yield
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _healthy(service: Service) -> bool:
    """Probe in a loop of its own, because the caller may have a running loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, all_answer(service.probes)).result()


@contextlib.contextmanager
def running_stack(
    directory: Path, *arguments: str, cwd: Path = REPOSITORY
) -> Iterator[dict[str, Any]]:
    """Run a private stack on free ports and yield the content of its endpoints.json.

    The stack has a lifeline, so that even a killed test run leaves no process behind.

    Args:
        directory: the directory of the stack.
        arguments: further arguments of `up`.
        cwd: the folder in which the stack is started, as that of a user's app.
    """
    command = local_command("up", "--lifeline", "--ephemeral-ports", "--state-dir", directory)
    read_end, write_end = os.pipe()
    try:
        up = subprocess.run(
            [*command, *arguments],
            cwd=cwd,
            env=_with_repository(),
            stdin=read_end,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        if up.returncode != 0:
            raise AssertionError(f"the stack is not up:\n{up.stdout}{up.stderr}")
        endpoints: dict[str, Any] = json.loads((directory / "endpoints.json").read_text())
        yield endpoints
    finally:
        down = run_local("down", "--state-dir", directory)
        os.close(read_end)
        os.close(write_end)
    assert down.returncode == 0, down.stdout + down.stderr


def children_of(pid: int) -> list[psutil.Process]:
    """Return the descendants of process `pid`."""
    return psutil.Process(pid).children(recursive=True)


def wait_until_gone(processes: Sequence[psutil.Process], timeout: float = 60) -> list[str]:
    """Wait for the processes to end; return the running ones for the failure's message."""
    deadline = time.monotonic() + timeout
    while (alive := [process for process in processes if _runs(process)]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.02)
    return [str(process) for process in alive]


def _runs(process: psutil.Process) -> bool:
    """Return whether the process runs; a zombie does not, and may be reaped during the check."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(condition: Any, what: str | Callable[[], str], timeout: float = 40) -> Any:
    """Poll `condition` until the result is true, and return the result.

    Args:
        condition: the function to poll.
        what: the awaited event for the failure's message, or a function that returns this text.
        timeout: seconds; long, because the machine may be busy.
    """
    deadline, late = time.monotonic() + timeout, False
    while not (value := condition()):
        if late:
            what = what if isinstance(what, str) else what()
            raise AssertionError(f"{what} did not happen within {timeout:g} s")
        time.sleep(0.05)
        late = time.monotonic() >= deadline  # poll once more after a late poll
    return value
