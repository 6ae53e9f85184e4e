"""Tests of the handler in payments.py: no Azure, no Redis, no waiting.

`PYTHONPATH=docs/examples python -m pytest docs/examples/test_payments.py`
"""

from __future__ import annotations

from collections.abc import Callable

import httpx
from payments import Order, Payments

from breakwater.testing import TestApp, downstream_down, event, run


class Bank:
    """A bank that notes each charge by its idempotency key."""

    def __init__(self) -> None:
        self.charges: dict[str, int] = {}
        self.requests = 0

    def payments(self) -> Payments:
        """Return the handler with connections to this bank."""
        return Payments("http://bank", httpx.MockTransport(self.answer))

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Charge an order."""
        self.requests += 1
        cents = Order.model_validate_json(request.content).cents
        if cents > 1_000_000:
            return httpx.Response(402)
        self.charges[request.headers["Idempotency-Key"]] = cents
        return httpx.Response(201)


def order(customer: str, cents: int) -> Order:
    """Return an order."""
    return Order.model_construct(customer=customer, cents=cents)


def test_order_is_charged() -> None:
    """The good path."""
    bank = Bank()
    paid = event(order("ann", 300), key="ann")
    run(bank.payments(), [paid]).check()
    assert bank.charges == {paid.id: 300}


def test_order_without_an_amount_is_poison_at_once() -> None:
    """The bank is not asked, and the customer's next order is not delayed."""
    bank = Bank()
    bad, good = event(order("ann", 0), key="ann"), event(order("ann", 300), key="ann")
    outcome = run(bank.payments(), [bad, good])
    assert outcome.poisoned == [bad]
    assert "cents" in outcome.of(bad).why
    assert outcome.handled == [good]
    assert bank.requests == 1


def test_order_that_the_bank_refuses_is_poison_after_its_retries() -> None:
    """An HTTP error that is no outage is retried, and then the event is poisoned."""
    refused = event(order("ann", 2_000_000))
    outcome = run(Bank().payments(), [refused], settings={"PROCESSING_MAX_ATTEMPTS": 3})
    assert outcome.poisoned == [refused]
    assert outcome.of(refused).attempts == 3


def test_no_order_is_charged_twice_after_a_crash() -> None:
    """The process dies after the charge, before it is noted: the handler runs again."""
    bank = Bank()
    first, second = event(order("ann", 300)), event(order("bob", 500))
    outcome = run(bank.payments(), [first, second], crash_after=first)
    assert outcome.handled == [first, first, second]
    assert bank.charges == {first.id: 300, second.id: 500}


def test_orders_wait_in_their_order_while_the_bank_is_down(
    breakwater_app: Callable[..., TestApp],
) -> None:
    """The fixture closes the app; its runs share the stores and the test clock."""
    bank = Bank()
    settings = {"BREAKER_FAILURE_THRESHOLD": 2, "BREAKER_HALF_OPEN_PERMITS": 2}
    app = breakwater_app(bank.payments(), settings=settings)
    orders = [event(order(name, 300), key=name) for name in ("ann", "bob", "ann", "cid")]
    with downstream_down("bank") as outage:
        outcome = app.run(orders)
        assert outage.calls > 0
        assert outcome.circuits["bank"] == "open"
        assert outcome.circuit == "closed"
        assert {each.key for each in outcome.deferred} == {"ann", "bob", "cid"}
    later = app.run(seconds=300)
    assert later.circuits["bank"] == "closed"
    assert [each for each in later.handled if each.key == "ann"] == [orders[0], orders[2]]
    assert len(bank.charges) == 4
