"""Parsing of requests, with limits and with errors that name the invalid field."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request

from breaker.configuration.one_line import JOINERS, is_printable, one_line

BODY_BYTES = 16_384
BODY_SECONDS = 10.0
TEXT_CHARS = 200
GENERATION_MAX = 2**53


async def read_object(request: Request) -> dict[str, Any]:
    """Return the JSON object in the body.

    Raises:
        HTTPException: 413 for more than 16 KiB, 408 for a body that does not arrive in time, 400
            for a body that is not a JSON object.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > BODY_BYTES:
                    raise HTTPException(413, f"the body has more than {BODY_BYTES} bytes")
    except TimeoutError:
        raise HTTPException(408, f"the body took more than {BODY_SECONDS:g} s") from None
    try:
        document = json.loads(bytes(body))
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is not JSON") from None
    if not isinstance(document, dict):
        raise HTTPException(400, "the body is not a JSON object")
    return document


def generation_in(document: dict[str, Any]) -> int:
    """Return the field `generation`.

    Raises:
        HTTPException: 400 if the field is missing or not a whole number from 1.
    """
    value = document.get("generation")
    if type(value) is not int or not 1 <= value <= GENERATION_MAX:
        raise HTTPException(400, "generation is missing or not a whole number from 1")
    return value


def time_in(document: dict[str, Any], name: str) -> float | None:
    """Return a time field, in seconds since 1970; None if the field is null or missing.

    Raises:
        HTTPException: 400 if the field is not a time in ISO 8601 with its zone.
    """
    value = document.get(name)
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None or moment.timestamp() < 0:
        raise HTTPException(400, f"{name} is not a time in ISO 8601 with a time zone")
    return moment.timestamp()


def text_in(document: dict[str, Any], name: str, limit: int = TEXT_CHARS) -> str:
    """Return a text field of one line.

    Raises:
        HTTPException: 400 if the field is missing, blank, too long or has control characters.
    """
    text = _bounded(_text(document, name), name, limit)
    if not text.isprintable():
        raise HTTPException(400, f"{name} has characters that cannot be printed")
    return text.strip()


def line_in(document: dict[str, Any], name: str, limit: int = TEXT_CHARS) -> str:
    """Return a text field of one line that a person writes: a name or a reason.

    Raises:
        HTTPException: 400 if the field is missing, blank, too long in its kept spelling, invisible
            or has control characters.
    """
    try:
        line = one_line(_text(document, name))
    except ValueError as error:
        raise HTTPException(400, f"{name} has {error}") from None
    return _bounded(line, name, limit)


def prose_in(document: dict[str, Any], name: str, limit: int) -> str:
    """Return a text field that may have several lines.

    Raises:
        HTTPException: 400 if the field is missing, blank, too long or has control characters.
    """
    value = _bounded(_text(document, name), name, limit)
    text = "\n".join(value.replace("\t", "    ").splitlines()).strip()
    if not is_printable(text, f"\n{JOINERS}"):
        raise HTTPException(400, f"{name} has characters that cannot be printed")
    return text


def number_in(request: Request, name: str, *, default: int, most: int) -> int:
    """Return a number of the query, from 1 to `most`.

    Raises:
        HTTPException: 400 if the value is not a number in that range.
    """
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= most):
        raise HTTPException(400, f"{name} is not a number from 1 to {most}")
    return int(text)


def check_callback_host(url: str, allowed: tuple[str, ...]) -> None:
    """Refuse callbacks to a host that is not allowed, and plain http to another machine.

    Raises:
        HTTPException: 400 if the text is not an http(s) address, 403 if it is not allowed.
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
    except ValueError:
        raise HTTPException(400, "callbackUrl is not an http(s) address") from None
    if parts.scheme not in {"http", "https"} or not host or "@" in parts.netloc:
        raise HTTPException(400, "callbackUrl is not an http(s) address")
    if not any(_matches(host, pattern) for pattern in allowed):
        raise HTTPException(403, f"callbackUrl: host {host} is not in CONSOLE_CALLBACK_HOSTS")
    if parts.scheme == "http" and not _is_loopback(host):
        raise HTTPException(
            403, "callbackUrl: plain http is allowed only to loopback addresses; use https"
        )


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value.strip():
        raise HTTPException(400, f"{name} is missing, blank or not a text")
    return value


def _bounded(text: str, name: str, limit: int) -> str:
    if len(text) > limit:
        raise HTTPException(400, f"{name} has more than {limit} characters")
    return text


def _matches(host: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return host == pattern


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
