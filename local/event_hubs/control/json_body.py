"""JSON bodies of the control port's requests, read with errors that say what is taken."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request

from local.event_hubs.config import ConfigError
from local.event_hubs.errors import AmqpError


async def read_body(request: Request) -> dict[str, Any]:
    """Read a JSON object; none is an empty one.

    Raises:
        ConfigError: it is something else.
    """
    raw = await request.body()
    try:
        body = json.loads(raw) if raw else {}
    except ValueError:
        raise ConfigError("the body is no JSON") from None
    if not isinstance(body, dict):
        raise ConfigError(f"the body takes an object, got {body!r}")
    return body


def number(body: dict[str, Any], name: str, default: float) -> float:
    """Read a number that is not negative.

    Raises:
        ConfigError: it is none.
    """
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ConfigError(f"{name} takes a number that is not negative, got {value!r}")
    return value


def integer(body: dict[str, Any], name: str, default: int) -> int:
    """Read a number, without its fraction.

    Raises:
        ConfigError: it is none.
    """
    return int(number(body, name, default))


def partition(body: dict[str, Any]) -> int | None:
    """Read the partition that is meant; None for all.

    Raises:
        ConfigError: it is no number.
    """
    return None if body.get("partition") is None else integer(body, "partition", 0)


def error(body: dict[str, Any]) -> AmqpError | None:
    """Read the error that clients are to be told, if a condition is given.

    Raises:
        ConfigError: the condition is no text.
    """
    condition = body.get("condition")
    if condition is None:
        return None
    if not isinstance(condition, str) or not condition.isascii() or not condition:
        raise ConfigError(f"condition takes an AMQP error condition, got {condition!r}")
    return AmqpError(condition, str(body.get("description", "This was asked for.")))
