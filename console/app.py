"""The console as an ASGI app."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from breaker import CircuitBreaker, StoreUnavailableError
from console.approvals import ApprovalsApi
from console.auth import BearerAuth
from console.delivery import deliver_for_ever
from console.settings import ConsoleSettings


def create_app(breaker: CircuitBreaker, settings: ConsoleSettings) -> Starlette:
    """Build the app; its lifespan starts and closes the breaker and delivers alerts meanwhile."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with breaker:
            delivering = asyncio.create_task(
                deliver_for_ever(breaker, settings.delivery_seconds), name="console-delivery"
            )
            try:
                yield
            finally:
                delivering.cancel()
                await asyncio.gather(delivering, return_exceptions=True)

    async def healthz(_: Request) -> JSONResponse:
        degraded = breaker.circuit.degraded
        return JSONResponse(
            {"status": "degraded" if degraded else "ok"}, status_code=503 if degraded else 200
        )

    return Starlette(
        routes=[
            Route("/healthz", healthz, methods=["GET"]),
            *ApprovalsApi(breaker, settings).routes(),
        ],
        middleware=[Middleware(BearerAuth, token=settings.token)],
        exception_handlers={
            HTTPException: _refused,
            StoreUnavailableError: _unavailable,
        },
        lifespan=lifespan,
    )


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type only
    return JSONResponse(
        {"error": error.detail}, status_code=error.status_code, headers=error.headers
    )


async def _unavailable(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status_code=503, headers={"Retry-After": "2"})
