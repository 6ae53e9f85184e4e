"""What the HTTP endpoints share: bounded bodies and Azure's error form."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse


class BodyTooLargeError(Exception):
    """A request body is larger than its limit."""


async def read_body(request: Request, limit: int) -> bytes:
    """The body, of which no more than `limit` bytes are ever held.

    Raises:
        BodyTooLargeError: there is more.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise BodyTooLargeError
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise BodyTooLargeError
    return bytes(body)


def error_response(status: int, code: str, message: str) -> JSONResponse:
    """{"error": {"code", "message"}}, the form of Event Grid and Azure Resource Manager."""
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)
