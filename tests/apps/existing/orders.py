"""The app's handler."""

import asyncio
import os
from pathlib import Path

from breakwater import Event, PoisonEventError


async def handle(event: Event) -> None:
    """Print the amount of an order; an order that waits ends when the file RELEASE exists."""
    order = event.json()
    if "amount" not in order:
        raise PoisonEventError("no amount")
    print(f"{event.key}: {order['amount']}", flush=True)  # noqa: T201 - the output is tested
    while order.get("waits") and not Path(os.environ["RELEASE"]).exists():  # noqa: ASYNC240
        await asyncio.sleep(0.01)
