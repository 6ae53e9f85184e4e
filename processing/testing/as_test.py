"""A test, as Python source, that runs the handler on the event of a poison message."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import batched
from typing import Any

from processing.formats import json_text
from processing.poison.message import PoisonMessage

LINE = 72
"""Most bytes or characters of the body in one line of the source."""
_ERROR_LINE = 300

_HEAD = '''"""A test of event {id}.

The test raises the handler's error until the handler, or the event's sender, is corrected.
It contains the event's data as the sender wrote it: look at them before you commit or share them.
"""

from breakwater.testing import event, run

# {error}
{frames}# {attempts}; the last attempt was at {time}, in instance {instance}.
HANDLER = {handler}
# Add the app settings that the handler reads.
SETTINGS: dict[str, str] = {{}}
EVENT = event(
{body}
'''
_TAIL = """)


def test_event_{number}_of_partition_{partition}() -> None:
    run(HANDLER, [EVENT], settings=SETTINGS).check()
"""


def source_of(message: PoisonMessage) -> str:
    """Return the source of a test that fails as the event has failed; ASCII only.

    The test has the event's body, key, properties and id. It calls the handler by its name, so it
    must run where Python finds the handler's module.

    Raises:
        ValueError: the message is only a claim check, without its body.
    """
    parts: dict[str, object] = {} if message.key is None else {"key": message.key}
    for name in ("properties", "system_properties"):
        if values := getattr(message, name):
            parts[name] = json_text.simplified(values)
    parts |= {"offset": message.offset, "id": message.id}
    error = f"{message.error.type}: {message.error.message}"
    attempts = "1 attempt" if message.attempts == 1 else f"{message.attempts} attempts"
    head = _HEAD.format(
        id=_comment(message.id),
        error=_comment(error),
        frames="".join(f"#   at {_comment(frame)}\n" for frame in message.error.frames),
        attempts=f"It failed in {attempts}",
        time=_comment(message.last_attempt_time),
        instance=_comment(message.instance),
        handler=ascii(message.handler),
        body="\n".join(_body(message.payload)),
    )
    lines = [f"    {name}={value!a},\n" for name, value in parts.items()]
    partition = re.sub(r"[^A-Za-z0-9]", "_", message.partition)
    return head + "".join(lines) + _TAIL.format(number=message.sequence_number, partition=partition)


def _body(payload: bytes) -> Iterator[str]:
    """Yield the lines of the body's literal: text if the body is UTF-8, otherwise bytes."""
    try:
        text: str | None = payload.decode()
    except UnicodeDecodeError:
        text = None
    pieces: list[Any]
    if text is not None:
        pieces = ["".join(piece) for piece in batched(text, LINE)]
    else:
        pieces = [bytes(piece) for piece in batched(payload, LINE)]
    lines = [ascii(piece) for piece in pieces] or ["b''"]
    for line in lines[:-1]:
        yield f"    {line}"
    yield f"    {lines[-1]},"


def _comment(text: str) -> str:
    """Return a text that cannot end its line, its comment or its docstring."""
    return ascii(text[:_ERROR_LINE])[1:-1].replace('"', "'")
