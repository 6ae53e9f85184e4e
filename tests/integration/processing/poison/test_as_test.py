"""`breakwater poison show ID --as-test` on real Redis and Azurite, and the test that it writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from processing.errors import PoisonEventError
from tests.support.patience import STORE_SECONDS
from tests.support.processing.two_apps import App, two_apps

BODY = b"poison" + bytes(range(256)) * 300
"""A body that is no text, and needs a claim check."""


@pytest.fixture
async def app(redis_url: str, azurite: str, tmp_path: Path) -> AsyncIterator[App]:
    common = {
        "REDIS_URL": redis_url,
        "AzureWebJobsStorage": azurite,
        "EventHubConnection": "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=n;SharedAccessKey=k",
        "BREAKER_STORE_TIMEOUT_SECONDS": f"{STORE_SECONDS}",
    }
    async with two_apps(common, tmp_path, a={}, b={}) as apps:
        yield apps.a


async def test_written_test_fails_with_the_error_of_the_event(app: App) -> None:
    """The body comes from its claim check, and the traceback ends in the handler."""
    message = app.message(app.event("alice", 7, BODY))
    message = replace(message, handler="tests.unit.processing.testing.handlers:handle")
    await (await app.wiring.poison()).put(message)
    shown = await app.run("poison", "show", message.id, "--as-test")
    assert (shown.code, shown.err) == (0, "")
    names: dict[str, Any] = {}
    exec(compile(shown.out, "test_written.py", "exec"), names)  # noqa: S102
    with pytest.raises(PoisonEventError, match="asked for") as raised:
        await asyncio.to_thread(names["test_event_7_of_partition_0"])
    assert str(raised.traceback[-1].path).endswith("handlers.py")
    assert names["EVENT"].body == BODY
    assert names["EVENT"].id == message.id


async def test_file_for_the_body_is_refused_together_with_a_test(app: App, tmp_path: Path) -> None:
    file = tmp_path / "body"
    refused = await app.run("poison", "show", "1", "--as-test", "--body", str(file))
    assert refused.code == 2
    assert "--as-test and --body exclude each other" in refused.err
