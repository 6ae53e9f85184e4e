"""The circuit breaker: one rolling failure window shared by every instance of a fleet.

Knows no events and no Azure Functions. The Event Grid publisher is imported by itself, from
`breaker.alerts.event_grid`, so that using the breaker does not load an Azure SDK.
"""

from breaker.alerts.base import Alert, AlertPublisher, OutboxStatus
from breaker.alerts.memory import MemoryPublisher
from breaker.approvals import Approvals, has_passed
from breaker.circuit import CircuitBreaker
from breaker.clock import Clock, ManualClock, SystemClock
from breaker.errors import (
    AlertDeliveryError,
    BreakerError,
    CallbackRefusedError,
    CircuitIsolatedError,
    CircuitOpenError,
    SettingsError,
    StaleGenerationError,
    StoreUnavailableError,
)
from breaker.settings import BreakerSettings, Recovery, RedisAuth
from breaker.state import Circuit, CircuitEvent, CircuitState, HistoryEntry, Permit
from breaker.stores.base import CircuitStore
from breaker.stores.memory import MemoryCircuitStore
from breaker.stores.redis import RedisCircuitStore

__all__ = [
    "Alert",
    "AlertDeliveryError",
    "AlertPublisher",
    "Approvals",
    "BreakerError",
    "BreakerSettings",
    "CallbackRefusedError",
    "Circuit",
    "CircuitBreaker",
    "CircuitEvent",
    "CircuitIsolatedError",
    "CircuitOpenError",
    "CircuitState",
    "CircuitStore",
    "Clock",
    "HistoryEntry",
    "ManualClock",
    "MemoryCircuitStore",
    "MemoryPublisher",
    "OutboxStatus",
    "Permit",
    "Recovery",
    "RedisAuth",
    "RedisCircuitStore",
    "SettingsError",
    "StaleGenerationError",
    "StoreUnavailableError",
    "SystemClock",
    "has_passed",
]
