"""The app's handler."""

from breakwater import Event, PoisonEventError


async def handle(event: Event) -> None:
    """Print the amount of an order."""
    order = event.json()
    if "amount" not in order:
        raise PoisonEventError("no amount")
    print(f"{event.key}: {order['amount']}", flush=True)  # noqa: T201 - the output is tested
