from orders import routes

from breakwater.testing import downstream_down, event, run

BANK, CREATED = {"BANK_URL": "http://bank.invalid"}, {"type": "order.created"}


def test_order_without_an_amount_is_poison() -> None:
    bad = event({"id": "o-1", "cents": 0}, key="customer-1", properties=CREATED)
    outcome = run(routes, [bad], settings=BANK)
    assert outcome.poisoned == [bad] and "cents" in outcome.of(bad).why


def test_payments_wait_while_the_bank_is_down() -> None:
    orders = [event({"id": f"o-{n}", "cents": 100}, properties=CREATED) for n in range(3)]
    with downstream_down():
        outcome = run(routes, orders, settings=BANK)
    assert not outcome.handled and not outcome.poisoned
