"""One line of a log about the error of an event, without the event's body and key."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, takewhile
from operator import eq
from typing import Any

from processing.event import Event
from processing.formats.event_fields import key_hash
from processing.handlers.own_frames import own_frames
from processing.handlers.raised import LONGEST_TEXT, describe, dotted_type

LONGEST_MESSAGE = 400
"""Characters of an error's message in a line."""
LEAST_VALUE = 4
"""Characters of the shortest value of a body that is searched in a message."""
SHORTEST_BEGINNING = 12
"""Characters of the shortest beginning of a value that is searched in a message."""
MOST_VALUES = 2_000
"""Values of a body that are searched."""
MOST_BYTES = 64 * 1024
"""Bytes of a body that are searched; a longer body makes a line without the error's message."""

_INPUT = re.compile(
    r"\[type=(\w+), input_value=(?:.*, input_type=\w+\]|[\s\S]*?(?:, input_type=\w+\]|\Z))"
)
"""The part of a message of pydantic that repeats the input.

It ends at the last `input_type` of its line, because the input may contain such a text, too. An
input of several lines ends at the first one, and that of a message that was cut at its end.
"""
_BETWEEN_WORDS = re.compile(r"[\s,;|&=\"'<>]+")
_LEFT_OUT = "(…)"


def failure_line(event: Event, error: BaseException) -> str:
    """Return the error's type and message, the hash of the event's key, and the user's frames."""
    return error_line(
        dotted_type(error), describe(error), own_frames(error), key=event.key, body=event.body
    )


def error_line(
    kind: str, message: str, frames: Sequence[str], *, key: str | None, body: bytes | None
) -> str:
    """Return one line about an error.

    The key and the values of the body are replaced by `(…)` in the message, if they have at least
    `LEAST_VALUE` characters, and so are beginnings of values of at least `SHORTEST_BEGINNING`
    characters: the log is for more readers than the poison queue. The names of JSON fields stay,
    and what the handler derives from a value, such as its upper case, is not found.

    Args:
        kind: the error's dotted type.
        message: the error's message; line breaks become blanks.
        frames: the user's own frames.
        key: the event's key, of which the line has only the hash.
        body: the event's body; None if it is not at hand, and the line then has no message.
    """
    parts = [kind]
    if shown := _without_values(message, key, body):
        parts[0] = f"{kind}: {shown}"
    key = key if isinstance(key, str) else None  # a handler can replace the key of its event
    if key is not None:
        parts.append(f"key hash {key_hash(key)}")
    if frames:
        parts.append(f"at {', '.join(frames)}")
    return "; ".join(parts)


def _without_values(message: str, key: str | None, body: bytes | None) -> str:
    """Return the message as one line without the key and the values of the body."""
    if not isinstance(body, bytes) or len(body) > MOST_BYTES:
        return ""
    was_cut = len(message) >= LONGEST_TEXT
    message = _INPUT.sub(r"[type=\1]", message)
    values = set(islice(_values(body), MOST_VALUES))
    values |= {repr(body), body.decode("utf-8", "replace"), key or ""}
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= LEAST_VALUE:
            message = message.replace(value, _LEFT_OUT)
    message = _without_beginnings(message, values)
    if was_cut:  # a shorter beginning of a value may be at its end
        shown, mark, rest = message.rpartition(_LEFT_OUT)
        message = f"{shown}{mark}{rest[:-SHORTEST_BEGINNING]}…"
    message = " ".join(message.split())
    return message if len(message) <= LONGEST_MESSAGE else f"{message[: LONGEST_MESSAGE - 1]}…"


def _without_beginnings(message: str, values: Iterable[str]) -> str:
    """Return the message without the values of which it has only the beginnings.

    A handler may quote a part of a value, and a long message is cut before it comes here.
    """
    starts: dict[str, list[str]] = defaultdict(list)
    for value in values:
        if len(value) >= SHORTEST_BEGINNING:
            starts[value[:SHORTEST_BEGINNING]].append(value)
    shown: list[str] = []
    at = 0
    while at < len(message):
        alike = starts.get(message[at : at + SHORTEST_BEGINNING], ())
        shown.append(_LEFT_OUT if alike else message[at])
        at += max((_common(message[at:], value) for value in alike), default=1)
    return "".join(shown)


def _common(text: str, other: str) -> int:
    """Return how many characters at the beginning of both texts are the same."""
    return sum(takewhile(bool, map(eq, text, other)))


def _values(body: bytes) -> Iterator[str]:
    """Yield the texts and numbers of a JSON body, or the words of another body."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        yield from _BETWEEN_WORDS.split(body.decode("utf-8", "replace"))
        return
    pending: list[Any] = [document]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, list):
            pending += value
        elif isinstance(value, str):
            yield value
            yield repr(value)[1:-1]
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield str(value)
