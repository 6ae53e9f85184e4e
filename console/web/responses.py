"""JSON responses of the console, including the responses to errors."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from breaker import StoreUnavailableError
from console.errors import BackplaneError, CoordinationError, OperationsError
from console.web.headers import HEADERS

logger = logging.getLogger(__name__)


class ApiResponse(JSONResponse):
    """JSON response in ASCII.

    An event's key, properties or error text may contain characters that UTF-8 cannot encode. One
    such event must not make the whole list unreadable.
    """

    def render(self, content: Any) -> bytes:
        """See `JSONResponse.render`."""
        try:
            text = json.dumps(content, allow_nan=False, separators=(",", ":"))
        except ValueError:  # JSON has no NaN and no Infinity
            text = json.dumps(_finite(content), allow_nan=False, separators=(",", ":"))
        return text.encode()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type only
    return ApiResponse(
        {"error": error.detail}, status_code=error.status_code, headers=error.headers
    )


async def _unavailable(_: Request, error: Exception) -> Response:
    return ApiResponse({"error": str(error)}, status_code=503, headers={"Retry-After": "2"})


async def _failed(request: Request, error: Exception) -> Response:
    """Respond to an unexpected error with 500; the log has the traceback.

    The response is built outside of all middleware, so it sets the security headers itself.
    """
    logger.error("%s %s failed: %s", request.method, request.url.path, type(error).__name__)
    message = f"the console failed with {type(error).__name__}; its log has the traceback"
    return ApiResponse(
        {"error": message}, status_code=500, headers={**HEADERS, "Cache-Control": "no-store"}
    )


type Handler = Callable[[Request, Exception], Awaitable[Response]]

ERRORS: dict[Any, Handler] = {
    HTTPException: _refused,
    StoreUnavailableError: _unavailable,
    BackplaneError: _unavailable,
    CoordinationError: _unavailable,
    OperationsError: _unavailable,
    Exception: _failed,
}
"""Response to each type of error that a handler raises."""
