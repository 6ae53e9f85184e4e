"""The handler of docs/examples/orders_with_pool.py, with a bank over HTTP."""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from breakwater.testing import event, run_async
from processing.errors import HandlerStartError
from processing.handlers.loading import load_handler

EXAMPLES = Path(__file__).parents[4] / "docs" / "examples"


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the example's module."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield importlib.import_module("orders_with_pool")
    sys.modules.pop("orders_with_pool", None)


@pytest.fixture
async def bank() -> AsyncIterator[tuple[str, list[tuple[str, Any]]]]:
    """Yield the address of a bank, and the charges that it receives with their keys."""
    charges: list[tuple[str, Any]] = []

    async def charge(request: web.Request) -> web.Response:
        charges.append((request.headers["Idempotency-Key"], await request.json()))
        return web.Response()

    app = web.Application()
    app.router.add_post("/charges", charge)
    async with TestServer(app) as server:
        yield str(server.make_url("/")), charges


async def test_order_is_charged_and_a_wrong_order_is_poison(
    orders: Any, bank: tuple[str, list[tuple[str, Any]]]
) -> None:
    """The pool is open during the events, and closed afterwards."""
    url, charges = bank
    good = event({"customer": "c1", "amount": "3.50"}, key="c1")
    bad = event({"customer": "c2", "amount": "-1"}, key="c2")
    outcome = await run_async(orders.Orders, [good, bad], settings={"BANK_URL": url})
    assert outcome.handled == [good], str(outcome)
    assert charges == [(good.id, {"customer": "c1", "amount": "3.50"})]
    why = "EventModelError: the body is no Order: amount: Input should be greater than 0"
    assert outcome.poisoned == [bad]
    assert why in outcome.of(bad).why


@pytest.mark.parametrize(
    ("path", "name"), [("", "orders_with_pool:Orders"), ("orders_app", "orders:Payments")]
)
async def test_examples_close_what_a_failed_start_has_left(
    path: str, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """`aclose` must work after half a start."""
    monkeypatch.syspath_prepend(str(EXAMPLES / path))
    handler = load_handler(name, {"BANK_URL": "bank.invalid"})
    sys.modules.pop(name.partition(":")[0])

    def refuse(*_args: object, **_options: object) -> None:
        raise ValueError("no address")

    monkeypatch.setattr(ClientSession, "__init__", refuse)
    with pytest.raises(HandlerStartError, match="no address"):
        await handler.start()
    assert "aclose raised" not in caplog.text
