"""JSON documents of poison messages for the page, which shows all values as text.

Properties are passed as JSON text: a browser rounds numbers above 2^53 when it parses them.
"""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from console.poison.jobs import KEY_CHARS
from processing.event import enqueued_time
from processing.formats import json_text

if TYPE_CHECKING:
    from console.poison.catalogue import Known
    from processing.poison.message import PoisonMessage
    from processing.redrive.listing import ListedKey

PREVIEW_CHARS = 200
BODY_BYTES = 4_096


def summary(message: PoisonMessage, body_state: str = "") -> dict[str, Any]:
    """Return one row of the list; a large event's body is stored elsewhere, without a preview.

    Args:
        message: the message.
        body_state: the `BodyState` of the message; "" if it was not looked up.
    """
    return {
        "id": message.id,
        "key": message.key,
        "partition": message.partition,
        "sequence_number": message.sequence_number,
        "enqueued_time": enqueued_time(message.enqueued_ms).isoformat(),
        "error": {"type": message.error.type, "message": message.error.message},
        "attempts": message.attempts,
        "parked": message.parked,
        "redrives": message.redrives,
        "size": _size(message),
        "body_state": body_state,
        "preview": text_of(_beginning(message, PREVIEW_CHARS * 4))[:PREVIEW_CHARS],
    }


def queue_state(known: Known) -> dict[str, Any]:
    """Return what is known of the queue beside its messages.

    The times are milliseconds since 1970. `total` is the number of the app's own messages, and
    `count` the queue's own approximate number of all messages.
    """
    state = known.state
    return {
        "total": state.entries,
        "as_of": None if state.built_at is None else round(state.built_at * 1000),
        "held": state.held,
        "of_others": dict(state.of_others),
        "unreadable": state.unreadable,
        "comparing": state.comparing,
        "count": known.count,
        "problem": known.problem,
    }


def parked_key(listed: ListedKey, now: float) -> dict[str, Any]:
    """Return one row of the parked and deferred keys; `now` is the store's time in seconds.

    The field `selection` is the body of a redrive of this key; None: a redrive would be refused.
    """
    selection: dict[str, str] | None = None
    if listed.key is not None and len(listed.key) <= KEY_CHARS:
        selection = {"key": listed.key}
    elif listed.event and (listed.key is None or listed.state == "parked"):
        selection = {"id": listed.event}
    return {
        "key": listed.key,
        "event": listed.event,
        "partition": listed.source.partition,
        "state": listed.state,
        "since": round(listed.since * 1000),
        "count": listed.entries,
        "behind": listed.behind,
        "reason": listed.reason,
        "dependency": listed.dependency,
        "attempts": listed.attempts,
        "redrives": listed.redrives,
        "next_try_seconds": None if listed.due is None else max(0.0, listed.due - now),
        "error": listed.error,
        "selection": selection,
    }


def full(message: PoisonMessage, *, lost: str = "") -> dict[str, Any]:
    """Return all data of a message, with the beginning of its body.

    Args:
        message: the message.
        lost: why the body is lost, or "".
    """
    beginning = _beginning(message, BODY_BYTES)
    size = _size(message) or 0
    is_text = _decoded(beginning, cut=len(beginning) < size) is not None
    state = "queue" if message.claim_check is None else "blob"
    return summary(message, "lost" if lost else state) | {
        "error": asdict(message.error),
        "properties": json_text.dumps(message.properties, indent=2),
        "system_properties": json_text.dumps(message.system_properties, indent=2),
        "offset": message.offset,
        "body": {
            "preview": text_of(beginning, cut=len(beginning) < size),
            "encoding": "text" if is_text else "hex",
            "bytes": size,
            "truncated": len(beginning) < size,
            "lost": lost,
        },
        "handler": message.handler,
        "first_attempt_time": message.first_attempt_time,
        "last_attempt_time": message.last_attempt_time,
        "circuit_generation": message.circuit_generation,
        "instance": message.instance,
    }


def text_of(body: bytes, *, cut: bool = True) -> str:
    """Return bytes as UTF-8 or as hex digits; `cut`: the last character may be incomplete."""
    text = _decoded(body, cut=cut)
    return body.hex(" ") if text is None else text


def _decoded(body: bytes, *, cut: bool) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        if cut and error.start >= len(body) - 3 and error.reason == "unexpected end of data":
            return body[: error.start].decode()
        return None


def _beginning(message: PoisonMessage, size: int) -> bytes:
    """Return the body's first bytes without decoding the whole body."""
    return base64.b64decode((message.body or "")[: (size + 2) // 3 * 4])[:size]


def _size(message: PoisonMessage) -> int | None:
    if message.body is None:
        return None
    return len(message.body) * 3 // 4 - message.body[-2:].count("=")
