"""Routes of the page's files and of the plotting library that npm installed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from breaker.configuration import npm

STATIC = Path(__file__).parents[1] / "static"
UPLOT = npm.package_folder(npm.UPLOT) / "dist"
VENDOR = {
    "/vendor/uplot.js": (UPLOT / "uPlot.iife.min.js", "text/javascript"),
    "/vendor/uplot.css": (UPLOT / "uPlot.min.css", "text/css"),
}


def page_routes() -> list[BaseRoute]:
    """Return the routes of the two pages, their files and the vendor's files."""
    return [
        Route("/", _page("index.html"), methods=["GET"]),
        Route("/login", _page("login.html"), methods=["GET"]),
        *(Route(path, _vendor, methods=["GET"]) for path in VENDOR),
        # StaticFiles serves only this folder and follows no symbolic link out of it.
        Mount("/static", StaticFiles(directory=STATIC, check_dir=False)),
    ]


def _page(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def page(_: Request) -> Response:
        return FileResponse(STATIC / name, media_type="text/html")

    return page


async def _vendor(request: Request) -> Response:
    file, kind = VENDOR[request.url.path]
    if not file.is_file():
        raise HTTPException(404, f"{file.name} is not installed; {npm.how_to_install()}")
    return FileResponse(file, media_type=kind)
