"""A breaker around any call: `PYTHONPATH=. python docs/examples/breaker_alone.py [REDIS_URL]`."""

import asyncio
import itertools
import sys

from breaker import (
    BreakerSettings,
    CircuitBreaker,
    CircuitOpenError,
    MemoryCircuitStore,
    RedisCircuitStore,
)

calls = itertools.count(1)


async def call_shop() -> None:
    """Call a dependency that is down."""
    raise ConnectionError("no route to the shop")


async def main() -> None:
    """Call until the circuit opens; all processes on the same Redis share the circuit."""
    store = RedisCircuitStore(sys.argv[1], "shop") if sys.argv[1:] else MemoryCircuitStore("shop")
    async with CircuitBreaker(store, BreakerSettings(name="shop", failure_threshold=3)) as breaker:
        while True:
            try:
                permit = await breaker.try_acquire()  # no I/O while the circuit is closed
                await call_shop()
                await breaker.record_successes(1, permit)
            except CircuitOpenError as refused:
                print(refused)  # noqa: T201
                return
            except ConnectionError as error:
                await breaker.record_failure(
                    f"{breaker.instance}/{next(calls)}", str(error), permit
                )


if __name__ == "__main__":
    asyncio.run(main())
