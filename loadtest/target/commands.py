"""The project's command lines, run as an operator runs them: each in a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping

from loadtest.target.stack import PROJECT


async def run_command(*command: str, environment: Mapping[str, str]) -> tuple[int | None, str]:
    """Run `python -m COMMAND`, and return its exit code and its output with its errors.

    Args:
        command: the module and its arguments.
        environment: variables besides those of this process.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *command),
        cwd=PROJECT,
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    return process.returncode, output.decode(errors="replace").strip()
