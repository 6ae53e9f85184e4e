"""The Redis store of circuits; no other package of the breaker imports redis."""

from breaker.stores.redis.client import Client, connect, log_in
from breaker.stores.redis.dependencies import RedisDependencyStore
from breaker.stores.redis.patience import PatientTimeout
from breaker.stores.redis.refusals import explained, refusal_in
from breaker.stores.redis.runner import FAILURES
from breaker.stores.redis.store import RedisCircuitStore

__all__ = [
    "FAILURES",
    "Client",
    "PatientTimeout",
    "RedisCircuitStore",
    "RedisDependencyStore",
    "connect",
    "explained",
    "log_in",
    "refusal_in",
]
