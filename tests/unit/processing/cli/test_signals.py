"""Signals end a command gently, also when its terminal is gone."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from processing.cli.signals import calling_on_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_signal_is_named(number: signal.Signals) -> None:
    found: asyncio.Queue[str] = asyncio.Queue()
    with calling_on_signals(found.put_nowait):
        os.kill(os.getpid(), number)
        assert await found.get() == number.name


async def test_command_under_nohup_goes_on() -> None:
    """`nohup` ignores SIGHUP for its command; a handler would undo that."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with calling_on_signals(pytest.fail):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
