"""The shared store: one Redis (6.2 or newer, Valkey), one script and one round trip each.

The only package of the breaker that imports redis.
"""

from breaker.stores.redis.client import Client, check_url, connect, log_in
from breaker.stores.redis.runner import FAILURES
from breaker.stores.redis.store import RedisCircuitStore

__all__ = ["FAILURES", "Client", "RedisCircuitStore", "check_url", "connect", "log_in"]
