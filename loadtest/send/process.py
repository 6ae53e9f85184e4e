"""The parent's side of the producer process, which starts, follows and ends the process."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from typing import Self

from loadtest.send.producer import Order
from loadtest.target.stack import PROJECT


@dataclass(slots=True)
class SendProgress:
    """The progress of sending; times are Unix seconds."""

    acknowledged: int = 0
    started_at: float | None = None
    finished_at: float | None = None
    error: str | None = None

    @property
    def over(self) -> bool:
        """Return whether sending has finished or failed."""
        return self.finished_at is not None or self.error is not None

    @property
    def seconds(self) -> float:
        """The duration of sending; 0 until sending has finished."""
        if self.started_at is None or self.finished_at is None:
            return 0.0
        return self.finished_at - self.started_at


class Sending:
    """A running producer process with live `progress`, ended on leaving the context manager."""

    def __init__(self, order: Order) -> None:
        self.progress = SendProgress()
        self._order = order
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    def release(self) -> None:
        """Let sending continue at its next hold, or end the present hold."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(b"\n")

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "loadtest.send.producer"),
            cwd=PROJECT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdin is not None  # noqa: S101 - PIPE was asked for
        self._process.stdin.write(self._order.to_json().encode() + b"\n")
        await self._process.stdin.drain()
        self._reader = asyncio.create_task(self._follow(self._process))
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._process is not None and self._process.returncode is None:
            if self._process.stdin is not None:
                self._process.stdin.close()
            try:
                async with asyncio.timeout(5):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        if self._reader is not None:
            await self._reader

    async def _follow(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101 - PIPE was asked for
        assert process.stderr is not None  # noqa: S101 - PIPE was asked for
        errors = asyncio.create_task(process.stderr.read())
        async for line in process.stdout:
            report = json.loads(line)
            self.progress.acknowledged = report["acknowledged"]
            self.progress.started_at = report["started_at"]
            if report.get("done"):
                self.progress.finished_at = report["at"]
            self.progress.error = report.get("error")
        code = await process.wait()
        output = (await errors).decode(errors="replace").strip()
        if not self.progress.over:
            last = output.splitlines()[-1] if output else "no error output"
            self.progress.error = f"the producer process exited with code {code}: {last}"
