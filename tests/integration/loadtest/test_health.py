"""The watch of the app's health, over HTTP and with the files that announce the hosts."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from loadtest.observe import health
from loadtest.observe.health import HealthWatch
from local.event_hubs.sockets import listen
from local.web import Server
from tests.support.patience import HANG_SECONDS


class Host:
    """A host that answers with the reports in turn, and the last one from then on."""

    def __init__(self, *reports: dict[str, Any]) -> None:
        self.reports = list(reports)

    async def answer(self, request: Request) -> JSONResponse:
        del request
        report = self.reports.pop(0) if len(self.reports) > 1 else self.reports[0]
        return JSONResponse(report, status_code=503)


def report(*recreated: str) -> dict[str, Any]:
    return {
        "status": "stalled",
        "partitions": [{"partition": each, "recreated": each in recreated} for each in "01"],
        "states": [],
        "problems": [],
        "warnings": [],
    }


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    host = Host(report("0"), report("1"), report())
    socket = listen("127.0.0.1", 0)
    server = Server(Starlette(routes=[Route("/api/health", host.answer)]), socket)
    await server.start()
    (tmp_path / "hosts").mkdir()
    announced = {"pid": os.getpid(), "instance": "0", "port": socket.getsockname()[1]}
    (tmp_path / "hosts" / "1.json").write_text(json.dumps(announced))
    yield host
    await server.stop()


async def test_watch_remembers_when_each_partition_was_named(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report with HTTP 503 counts, and a partition that is named no more stays known."""
    monkeypatch.setattr(health, "_POLL_SECONDS", 0.01)
    async with HealthWatch(tmp_path) as watch:
        assert await watch.until(lambda each: not each.recreated, HANG_SECONDS)
        assert watch.recreated_us.keys() == {"0", "1"}
        assert watch.recreated_us["0"] < watch.recreated_us["1"]
        assert not await watch.until(lambda each: bool(each.recreated), 0.05)
    assert host.reports == [report()]
