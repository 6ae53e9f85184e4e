"""A breaker without an event loop: `python docs/examples/breaker_sync.py [REDIS_URL]`."""

import sys
import urllib.request

from breaker import (
    BreakerSettings,
    CircuitBreaker,
    CircuitOpenError,
    MemoryCircuitStore,
    RedisCircuitStore,
)

store = RedisCircuitStore(sys.argv[1], "shop") if sys.argv[1:] else MemoryCircuitStore("shop")
breaker = CircuitBreaker(store, BreakerSettings(name="shop", failure_threshold=3))


@breaker.protect(failures=OSError)
def price(article: int) -> bytes:
    """Return the price of an article from a shop that is down."""
    with urllib.request.urlopen(f"http://127.0.0.1:9/{article}", timeout=5) as answer:
        body: bytes = answer.read()
        return body


def main() -> None:
    """Ask for prices until the circuit opens; `with` runs the breaker in a thread of its own."""
    with breaker:
        for article in range(1, 10):
            try:
                print(price(article))  # noqa: T201
            except CircuitOpenError as refused:
                print(refused.circuit.state)  # noqa: T201
                return
            except OSError:
                print(f"no price of article {article}")  # noqa: T201


if __name__ == "__main__":
    main()
