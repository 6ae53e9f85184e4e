"""The JSON bodies of the control port's requests, with errors that name the accepted values."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any

from starlette.requests import Request

from local.event_hubs.config import ConfigError
from local.event_hubs.errors import AmqpError


async def read_body(request: Request) -> dict[str, Any]:
    """Read a JSON object; an empty body is an empty object.

    Raises:
        ConfigError: the body is not a JSON object.
    """
    raw = await request.body()
    try:
        body = json.loads(raw) if raw else {}
    except ValueError:
        raise ConfigError("the body is not JSON") from None
    if not isinstance(body, dict):
        raise ConfigError(f"the body must be a JSON object, got {body!r}")
    return body


def number(body: dict[str, Any], name: str, default: float) -> float:
    """Read a number of 0 or more.

    Raises:
        ConfigError: the value is not such a number.
    """
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ConfigError(f"{name} must be a number of 0 or more, got {value!r}")
    return value


def signed(body: dict[str, Any], name: str) -> float:
    """Read a number, which may be below 0.

    Raises:
        ConfigError: the value is missing or not a finite number.
    """
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ConfigError(f"{name} must be a number, got {value!r}")
    return value


def integer(body: dict[str, Any], name: str, default: int) -> int:
    """Read a number of 0 or more, rounded down.

    Raises:
        ConfigError: the value is not such a number.
    """
    return int(number(body, name, default))


def partition(body: dict[str, Any]) -> int | None:
    """Read the partition; None means all partitions.

    Raises:
        ConfigError: the partition is not a number of 0 or more.
    """
    return None if body.get("partition") is None else integer(body, "partition", 0)


def error(body: dict[str, Any]) -> AmqpError | None:
    """Read the error for the clients; None if the body has no condition.

    Raises:
        ConfigError: the condition is not an ASCII text.
    """
    condition = body.get("condition")
    if condition is None:
        return None
    if not isinstance(condition, str) or not condition.isascii() or not condition:
        raise ConfigError(f"condition must be an AMQP error condition, got {condition!r}")
    return AmqpError(condition, str(body.get("description", "This is an injected fault.")))
