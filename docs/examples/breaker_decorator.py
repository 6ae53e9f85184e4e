"""A breaker around a function: `python docs/examples/breaker_decorator.py [REDIS_URL]`."""

import asyncio
import sys

from breaker import (
    BreakerSettings,
    CircuitBreaker,
    CircuitOpenError,
    MemoryCircuitStore,
    RedisCircuitStore,
)

store = RedisCircuitStore(sys.argv[1], "shop") if sys.argv[1:] else MemoryCircuitStore("shop")
breaker = CircuitBreaker(store, BreakerSettings(name="shop", failure_threshold=3))


@breaker.protect(failures=(ConnectionError, TimeoutError))
async def price(article: int) -> float:
    """Return the price of an article from a shop that is down."""
    raise ConnectionError(f"no route to the shop for article {article}")


async def main() -> None:
    """Ask for prices until the circuit opens."""
    async with breaker:
        for article in range(1, 10):
            try:
                print(await price(article))  # noqa: T201
            except CircuitOpenError as refused:
                print(refused)  # noqa: T201
                return
            except ConnectionError:
                print(f"no price of article {article}")  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main())
