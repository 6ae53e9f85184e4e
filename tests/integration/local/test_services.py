"""The services' supervisor after an error of its own."""

from __future__ import annotations

import asyncio
import errno
import sys
from pathlib import Path
from typing import Any

import pytest

from local.services import Supervisor
from local.services.service import Service


async def test_service_that_reads_much_data_has_no_time_limit(tmp_path: Path) -> None:
    command = ("sh", "-c", f"sleep 0.3; touch {tmp_path}/$$; exec sleep 600")
    slow = Service("slow", command, ready_file=lambda pid: tmp_path / str(pid), starts_slowly=True)
    supervisor = Supervisor([slow], tmp_path, start_seconds=0.1)
    try:
        await supervisor.start()
    finally:
        await supervisor.stop()


async def test_a_crashed_service_is_restarted_when_the_record_cannot_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk must not silently end the supervision."""
    full = False

    def record(services: list[dict[str, Any]]) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")

    sleeping = (sys.executable, "-S", "-c", "import time; time.sleep(600)")
    supervisor = Supervisor([Service("sleeper", sleeping, {}, ())], tmp_path, record)
    await supervisor.start()
    try:
        full = True
        supervisor._managed["sleeper"].child._process.kill()  # type: ignore[union-attr]
        async with asyncio.timeout(60):
            while "is healthy again" not in caplog.text:
                await asyncio.sleep(0.02)
    finally:
        full = False
        await supervisor.stop()
    assert "No space left on device" in caplog.text
    assert supervisor._managed["sleeper"].budget.total == 1
