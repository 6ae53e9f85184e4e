"""The circuit breaker: one rolling failure window shared by every instance of a fleet.

The package depends on neither events nor Azure Functions. Each name is loaded on first use, so that
importing `breaker.configuration` alone loads no Redis client. Import the Event Grid publisher from
`breaker.alerts.event_grid`: the breaker itself loads no Azure SDK.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from breaker.alerts.base import Alert, AlertPublisher, OutboxStatus
    from breaker.alerts.memory import MemoryPublisher
    from breaker.approvals import Approvals, has_passed
    from breaker.chain import ChainStatus, Step, StepKind, Waiting, WaitsFor
    from breaker.circuit import CircuitBreaker
    from breaker.clock import Clock, ManualClock, SystemClock
    from breaker.dependencies.circuits import DependencyCircuits
    from breaker.dependencies.settings import DependencySettings
    from breaker.errors import (
        AlertDeliveryError,
        BreakerError,
        CallbackRefusedError,
        CircuitIsolatedError,
        CircuitOpenError,
        MisuseError,
        SettingsError,
        StaleGenerationError,
        StoreUnavailableError,
        UnknownCircuitError,
    )
    from breaker.keys import Key
    from breaker.registration import Instance, Registration
    from breaker.settings import BreakerSettings, Mode, Recovery, RedisAuth
    from breaker.state import Circuit, CircuitEvent, CircuitState, HistoryEntry, Permit
    from breaker.stores.base import CircuitStore
    from breaker.stores.dependencies import DependencyStore
    from breaker.stores.memory import MemoryCircuitStore
    from breaker.stores.memory_dependencies import MemoryDependencyStore
    from breaker.stores.redis import RedisCircuitStore, RedisDependencyStore

__all__ = [
    "Alert",
    "AlertDeliveryError",
    "AlertPublisher",
    "Approvals",
    "BreakerError",
    "BreakerSettings",
    "CallbackRefusedError",
    "ChainStatus",
    "Circuit",
    "CircuitBreaker",
    "CircuitEvent",
    "CircuitIsolatedError",
    "CircuitOpenError",
    "CircuitState",
    "CircuitStore",
    "Clock",
    "DependencyCircuits",
    "DependencySettings",
    "DependencyStore",
    "HistoryEntry",
    "Instance",
    "Key",
    "ManualClock",
    "MemoryCircuitStore",
    "MemoryDependencyStore",
    "MemoryPublisher",
    "MisuseError",
    "Mode",
    "OutboxStatus",
    "Permit",
    "Recovery",
    "RedisAuth",
    "RedisCircuitStore",
    "RedisDependencyStore",
    "Registration",
    "SettingsError",
    "StaleGenerationError",
    "Step",
    "StepKind",
    "StoreUnavailableError",
    "SystemClock",
    "UnknownCircuitError",
    "Waiting",
    "WaitsFor",
    "has_passed",
]

_HOMES = {
    name: module
    for module, names in {
        "breaker.alerts.base": (
            "Alert",
            "AlertPublisher",
            "OutboxStatus",
        ),
        "breaker.alerts.memory": ("MemoryPublisher",),
        "breaker.approvals": (
            "Approvals",
            "has_passed",
        ),
        "breaker.chain": (
            "ChainStatus",
            "Step",
            "StepKind",
            "Waiting",
            "WaitsFor",
        ),
        "breaker.circuit": ("CircuitBreaker",),
        "breaker.clock": (
            "Clock",
            "ManualClock",
            "SystemClock",
        ),
        "breaker.dependencies.circuits": ("DependencyCircuits",),
        "breaker.dependencies.settings": ("DependencySettings",),
        "breaker.errors": (
            "AlertDeliveryError",
            "BreakerError",
            "CallbackRefusedError",
            "CircuitIsolatedError",
            "CircuitOpenError",
            "MisuseError",
            "SettingsError",
            "StaleGenerationError",
            "StoreUnavailableError",
            "UnknownCircuitError",
        ),
        "breaker.keys": ("Key",),
        "breaker.registration": (
            "Instance",
            "Registration",
        ),
        "breaker.settings": (
            "BreakerSettings",
            "Mode",
            "Recovery",
            "RedisAuth",
        ),
        "breaker.state": (
            "Circuit",
            "CircuitEvent",
            "CircuitState",
            "HistoryEntry",
            "Permit",
        ),
        "breaker.stores.base": ("CircuitStore",),
        "breaker.stores.dependencies": ("DependencyStore",),
        "breaker.stores.memory": ("MemoryCircuitStore",),
        "breaker.stores.memory_dependencies": ("MemoryDependencyStore",),
        "breaker.stores.redis": (
            "RedisCircuitStore",
            "RedisDependencyStore",
        ),
    }.items()
    for name in names
}

if not TYPE_CHECKING:  # with __getattr__ in view, a type checker accepts every name

    def __getattr__(name: str) -> object:
        """Load a public name from its module."""
        module = _HOMES.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(module), name)
        return found
