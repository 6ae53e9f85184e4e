"""Requests to an ASGI app without a network."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message

from local.workflow.runs.content import decode
from local.workflow.runs.requests import Answer


async def request(
    app: ASGIApp, method: str, path: str, headers: dict[str, str], body: Any = None
) -> Answer:
    """Send a request with a JSON body, and return the answer."""
    content = b"" if body is None else json.dumps(body).encode()
    given = {"host": "console", "content-type": "application/json", **headers}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 1),
        "server": ("console", 443),
        "state": {},
    }
    status, found, parts = 500, dict[str, str](), list[bytes]()

    async def receive() -> Message:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            found.update((name.decode(), value.decode()) for name, value in message["headers"])
        else:
            parts.append(message.get("body", b""))

    await app(scope, receive, send)
    return Answer(status, found, decode(b"".join(parts), found.get("content-type", "")))
