"""A breaker around a block of code: `python docs/examples/breaker_alone.py [REDIS_URL]`."""

import asyncio
import sys

from breaker import (
    BreakerSettings,
    CircuitBreaker,
    CircuitOpenError,
    MemoryCircuitStore,
    RedisCircuitStore,
)


async def call_shop() -> None:
    """Call a dependency that is down."""
    raise ConnectionError("no route to the shop")


async def main() -> None:
    """Call until the circuit opens; all processes on the same Redis share the circuit."""
    store = RedisCircuitStore(sys.argv[1], "shop") if sys.argv[1:] else MemoryCircuitStore("shop")
    async with CircuitBreaker(store, BreakerSettings(name="shop", failure_threshold=3)) as breaker:
        while True:
            try:
                async with breaker.guard(failures=ConnectionError):
                    await call_shop()
            except CircuitOpenError as refused:  # without a call
                print(refused)  # noqa: T201
                return
            except ConnectionError:
                pass  # the guard has counted the failure


if __name__ == "__main__":
    asyncio.run(main())
