"""Handlers that stand still in different ways, as the event's body asks.

Each call appends a line to the file ENDING_LOG when it starts and when it ends.
"""

from __future__ import annotations

import asyncio
import re
import time

from processing.event import Event
from tests.support.handlers.ending import _note


async def handle(event: Event) -> None:
    """`wait:SECONDS` waits on the event loop, `block:SECONDS` blocks the event loop."""
    _note(event, "start")
    deed, _, seconds = event.text().partition(":")
    if deed == "block":
        time.sleep(float(seconds))  # noqa: ASYNC251 - what the tests are about
    elif deed == "wait":
        await asyncio.sleep(float(seconds))
    _note(event, "end")


def handle_plain(event: Event) -> None:
    """`regex` holds the interpreter for years; `block:SECONDS` blocks its thread."""
    _note(event, "start")
    deed, _, seconds = event.text().partition(":")
    if deed == "regex":
        re.match(r"(a+)+$", "a" * 60 + "b")
    elif deed == "block":
        time.sleep(float(seconds))
    _note(event, "end")
