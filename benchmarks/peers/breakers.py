"""The circuit breakers of other libraries and of Breakwater behind one interface.

Each library is used as its documentation shows, with state in Redis. pybreaker, aiobreaker and
purgatory count consecutive failures in Redis with a blocking client (purgatory's asynchronous store
needs aioredis, which cannot be imported any more). interlock-cb shares only the state. Each process
counts its failures by itself, so that a recorded failure needs no command and reaches no other
process.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import sys
import warnings
from collections.abc import AsyncIterator
from importlib.metadata import PackageNotFoundError, distribution, version
from types import ModuleType
from typing import Any, Protocol

import redis
from redis.asyncio import Redis as AsyncRedis

from benchmarks.subject import circuit_breaker
from breaker import BreakerSettings, CircuitBreaker

PACKAGES = ("pybreaker", "aiobreaker", "purgatory-circuitbreaker", "interlock-cb")
_names = itertools.count()


class PeersMissingError(Exception):
    """Missing peer packages; the message says how to install them."""


class _BoomError(Exception):
    """The error of the failing call."""


class Guard(Protocol):
    """A circuit breaker around a call that does nothing."""

    async def succeed(self) -> None:
        """Make a call that succeeds."""

    async def fail(self) -> None:
        """Make a call that fails and is counted."""


def versions() -> dict[str, str]:
    """Return the versions of the peers by package.

    Raises:
        PeersMissingError: a peer is not installed.
    """
    found = {}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    if missing := [package for package in PACKAGES if package not in found]:
        raise PeersMissingError(
            f"missing packages: {', '.join(missing)}; install them with `make bench` or "
            "`pip install -r requirements-bench.txt`"
        )
    return found


@contextlib.asynccontextmanager
async def guard(name: str, url: str, threshold: int) -> AsyncIterator[Guard]:
    """Yield a new circuit of a library.

    Args:
        name: "breakwater", or one of `PACKAGES`.
        url: the URL of a Redis server.
        threshold: the number of failures that opens the circuit.
    """
    circuit = f"circuit-{next(_names)}"
    with warnings.catch_warnings():
        # aiobreaker uses the deprecated datetime.utcnow.
        warnings.simplefilter("ignore", DeprecationWarning)
        async with _OPEN[name](circuit, url, threshold) as made:
            yield made


class _Ours:
    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker
        self._ids = itertools.count()

    async def succeed(self) -> None:
        permit = await self._breaker.try_acquire()
        await self._breaker.record_successes(1, permit)

    async def fail(self) -> None:
        permit = await self._breaker.try_acquire()
        await self._breaker.record_failure(f"{next(self._ids)}", "boom", permit)


@contextlib.asynccontextmanager
async def _ours(circuit: str, url: str, threshold: int) -> AsyncIterator[Guard]:
    # Polling does not depend on calls and would be counted with them; P3 measures it separately.
    settings = BreakerSettings(name=circuit, failure_threshold=threshold, poll_seconds=300)
    async with circuit_breaker(url, settings) as breaker:
        yield _Ours(breaker)


class _Blocking:
    """A breaker whose `call(function)` blocks."""

    def __init__(self, breaker: Any) -> None:
        self._breaker = breaker

    async def succeed(self) -> None:
        self._breaker.call(_nothing)

    async def fail(self) -> None:
        with contextlib.suppress(Exception):
            self._breaker.call(_raise)


@contextlib.asynccontextmanager
async def _pybreaker(circuit: str, url: str, threshold: int) -> AsyncIterator[Guard]:
    pybreaker = _import("pybreaker")
    with redis.Redis.from_url(url) as client:
        storage = pybreaker.CircuitRedisStorage(pybreaker.STATE_CLOSED, client, namespace=circuit)
        yield _Blocking(pybreaker.CircuitBreaker(fail_max=threshold, state_storage=storage))


@contextlib.asynccontextmanager
async def _aiobreaker(circuit: str, url: str, threshold: int) -> AsyncIterator[Guard]:
    aiobreaker, storages = _import("aiobreaker"), _import("aiobreaker.storage.redis")
    closed = _import("aiobreaker.state").CircuitBreakerState.CLOSED
    with redis.Redis.from_url(url) as client:
        storage = storages.CircuitRedisStorage(closed, client, namespace=circuit)
        breaker = aiobreaker.CircuitBreaker(fail_max=threshold, state_storage=storage)
        yield _Awaited(breaker.call_async)


class _Awaited:
    """A breaker whose `call(function)` is awaited."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def succeed(self) -> None:
        await self._call(_nothing_async)

    async def fail(self) -> None:
        with contextlib.suppress(Exception):
            await self._call(_raise_async)


class _Purgatory:
    def __init__(self, factory: Any, circuit: str) -> None:
        self._factory = factory
        self._circuit = circuit

    async def succeed(self) -> None:
        with self._factory.get_breaker(self._circuit):
            pass

    async def fail(self) -> None:
        with contextlib.suppress(Exception), self._factory.get_breaker(self._circuit):
            raise _BoomError


@contextlib.asynccontextmanager
async def _purgatory(circuit: str, url: str, threshold: int) -> AsyncIterator[Guard]:
    purgatory = _import_purgatory()
    store = purgatory.SyncRedisUnitOfWork(url)
    try:
        factory = purgatory.SyncCircuitBreakerFactory(default_threshold=threshold, uow=store)
        yield _Purgatory(factory, circuit)
    finally:
        store.contexts.redis.close()


def _import_purgatory() -> Any:
    """Import purgatory with a replacement of `pkg_resources`, which setuptools has removed."""
    replacement: Any = ModuleType("pkg_resources")
    replacement.get_distribution = distribution
    replaced = sys.modules.setdefault("pkg_resources", replacement) is replacement
    try:
        return _import("purgatory")
    finally:
        if replaced:
            del sys.modules["pkg_resources"]


@contextlib.asynccontextmanager
async def _interlock(circuit: str, url: str, threshold: int) -> AsyncIterator[Guard]:
    interlock, storages = _import("interlock"), _import("interlock.integrations.redis")
    async with AsyncRedis.from_url(url) as client:
        # The rule is a failure rate over a number of calls; if all calls fail, it is a count.
        config = interlock.Config(
            failure_rate_threshold=1.0, minimum_number_of_calls=threshold, window_size=threshold
        )
        breaker = interlock.CircuitBreaker(
            name=circuit,
            config=config,
            storage=storages.AsyncRedisStorage(client, poll_interval=300),
        )
        try:
            yield _Awaited(breaker.call)
        finally:
            await breaker.aclose()


def _import(module: str) -> Any:
    """Import a peer's module, untyped because peers are installed for benchmarks only."""
    return importlib.import_module(module)


def _nothing() -> None:
    pass


def _raise() -> None:
    raise _BoomError


async def _nothing_async() -> None:
    pass


async def _raise_async() -> None:
    raise _BoomError


_OPEN = {
    "breakwater": _ours,
    "pybreaker": _pybreaker,
    "aiobreaker": _aiobreaker,
    "purgatory-circuitbreaker": _purgatory,
    "interlock-cb": _interlock,
}
BREAKERS = tuple(_OPEN)
"""Breakwater, then the peers."""
