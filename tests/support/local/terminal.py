"""A command on a real terminal (a pty): a test reads its output and types."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from local.services.child import REPOSITORY
from tests.support.patience import HANG_SECONDS

_CTRL_C = "\x03"


class Terminal:
    """A running command, the terminal that it reads from, and its output."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self.output = ""
        self._read = 0
        self._master = master

    def wait_for(self, text: str) -> str:
        """Wait until the command prints `text` after what was waited for; return the part before.

        Raises:
            AssertionError: the command ended, or did not print the text in time.
        """
        deadline = time.monotonic() + HANG_SECONDS
        while (found := self.output.find(text, self._read)) < 0:
            assert time.monotonic() < deadline, f"no {text!r} in time:\n{self.output}"
            assert self._receive(), f"the command ended without {text!r}:\n{self.output}"
        before, self._read = self.output[self._read : found], found + len(text)
        return before

    def type(self, text: str) -> None:
        """Type a line."""
        os.write(self._master, f"{text}\n".encode())

    def press_ctrl_c(self) -> None:
        """Press Ctrl-C, which the terminal turns into SIGINT."""
        os.write(self._master, _CTRL_C.encode())

    @property
    def echoes(self) -> bool:
        """Return whether the terminal itself shows what is typed."""
        return bool(termios.tcgetattr(self._master)[3] & termios.ECHO)

    def wait(self) -> int:
        """Read the rest of the output, and return the exit code."""
        while self._receive():
            pass
        return self.process.wait(HANG_SECONDS)

    def _receive(self) -> bool:
        """Read what is there; return False if the command has ended and nothing is left."""
        if not select.select([self._master], [], [], 0.05)[0]:
            return self.process.poll() is None
        try:
            received = os.read(self._master, 65536)
        except OSError:  # Linux's sign that no process has the terminal open
            return False
        self.output += received.decode().replace("\r\n", "\n")
        return bool(received)


@contextlib.contextmanager
def terminal(
    *arguments: str | Path, environment: Mapping[str, str], directory: Path = REPOSITORY
) -> Iterator[Terminal]:
    """Run `python -m <arguments>` with a terminal of its own as its controlling terminal."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        # The first program makes the pty its controlling terminal, so that Ctrl-C becomes SIGINT.
        [sys.executable, "-c", _LOGIN, sys.executable, "-m", *map(str, arguments)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=directory,
        env={"PYTHONPATH": str(REPOSITORY), "TERM": "dumb", **environment},
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        process.kill()
        process.wait()
        os.close(master)


_LOGIN = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
