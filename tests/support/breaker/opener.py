"""A process that opens a circuit and is killed: `opener.py < orders.json`.

The orders are {"url", "endpoint", "key", "die"}. `die` is the moment of the `kill -9`; with any
other text the process stays until the test kills it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from breaker import BreakerSettings, CircuitBreaker, Permit, RedisCircuitStore
from breaker.alerts.event_grid import EventGridPublisher
from breaker.state import Rules


def die() -> None:
    """Kill this process with SIGKILL, without any clean-up."""
    os.kill(os.getpid(), signal.SIGKILL)


class MortalStore(RedisCircuitStore):
    """A Redis store that kills its process at `moment`."""

    moment = ""

    async def claim_alerts(self, *arguments, **options):  # type: ignore[no-untyped-def]
        if self.moment == "after the script":
            die()
        return await super().claim_alerts(*arguments, **options)

    async def settle_alert(
        self, rules: Rules, token: str, entry: str, lease_seconds: float
    ) -> None:
        if self.moment == "after publishing":
            die()
        await super().settle_alert(rules, token, entry, lease_seconds)


async def main() -> None:
    """Open the circuit with two failures, then wait."""
    orders = json.loads(sys.stdin.read())
    settings = BreakerSettings(name="c", failure_threshold=2, window_seconds=600)
    MortalStore.moment = orders["die"]
    publisher = EventGridPublisher(orders["endpoint"], key=orders["key"])
    store = MortalStore(orders["url"], "c", timeout_seconds=30)
    async with CircuitBreaker(store, settings, publisher=publisher) as breaker:
        await breaker.record_failure("first", "boom", Permit(0))
        if orders["die"] == "before the script":
            die()
        await breaker.record_failure("second", "boom", Permit(0))
        await asyncio.sleep(120)


if __name__ == "__main__":
    asyncio.run(main())
