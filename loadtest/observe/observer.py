"""The observer, which polls Redis, the poison queue and the site's state during a run."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import httpx
import redis.asyncio
from azure.core.exceptions import AzureError, ResourceNotFoundError
from redis.exceptions import RedisError

from loadtest.errors import StackError
from loadtest.target.clients import async_redis, management_headers, poison_queue
from loadtest.target.endpoints import Endpoints
from loadtest.target.keys import Keys
from loadtest.target.lists import deferred_keys

_POLL_SECONDS = 0.05
_MOST_POLL_SECONDS = 1.0
_SAMPLE_SECONDS = 0.25
_QUEUE_SECONDS = 30.0
_SLOW_POLL_SECONDS = 0.5
_AZURE_POLL_SECONDS = 5.0
"""The poll interval on Azure, because Azure Resource Manager limits the number of reads."""
_SITES_VERSION = "2025-03-01"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sample:
    """The figures of one poll; `at_us` is microseconds by the Redis server's clock.

    `dependencies` has the state of the circuit of each dependency that the observer watches.
    """

    at_us: int = 0
    handled: int = 0
    refused: int = 0
    suppressed: int = 0
    poisoned: int = 0
    failures: int = 0
    state: str = "closed"
    generation: int = 0
    app_state: str = "Running"
    instances: int = 0
    deferred: frozenset[str] = frozenset()
    dependencies: Mapping[str, str] = field(default_factory=dict)


class Observer:
    """A background poller of the system, used as an async context manager.

    `latest` is usually less than 0.1 s old for Redis and 0.5 s for queue and site (5 s for the site
    on Azure). `samples` is the timeline with four samples per second. `deferred` has the keys that
    were deferred in any sample.

    Args:
        endpoints: the system.
        keys: the names of the run's keys in Redis.
        window_seconds: the breaker's window.
        watches_lists: whether to look for deferred keys, which scans the names of all keys.
        dependencies: the names of the dependencies whose circuits are watched, too.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        keys: Keys,
        window_seconds: float,
        *,
        watches_lists: bool = False,
        dependencies: Sequence[str] = (),
    ) -> None:
        self.watches_lists = watches_lists
        self._dependencies = tuple(dependencies)
        self._endpoints = endpoints
        self._keys = keys
        self._window_us = int(window_seconds * 1e6)
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._poisoned_before: int | None = None
        self._poisoned = 0
        self._app_state = "Running"
        self._instances = 0
        self.latest = Sample()
        self.samples: list[Sample] = []
        self.deferred: frozenset[str] = frozenset()

    async def __aenter__(self) -> Observer:
        self._tasks = [
            asyncio.create_task(self._watch_redis()),
            asyncio.create_task(self._watch_queue()),
            asyncio.create_task(self._watch_site()),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def first(self, patience_seconds: float = 10.0) -> Sample:
        """Return the first sample, once the poison queue has been counted for the first time.

        Messages that the poison queue holds before do not count for this run.

        Raises:
            StackError: Redis or the queue does not respond.
        """
        try:
            async with asyncio.timeout(patience_seconds):
                await self.until(lambda sample: sample.at_us > 0)
        except TimeoutError:
            by_identity = self._endpoints.redis_by_identity
            question = "are you logged in (az login)?" if by_identity else "is the stack up?"
            raise StackError(
                f"Redis at {self._endpoints.redis_address} did not respond within "
                f"{patience_seconds:g} s: {question}"
            ) from None
        try:
            async with asyncio.timeout(_QUEUE_SECONDS):
                return await self.until(lambda _: self._poisoned_before is not None)
        except TimeoutError:
            raise StackError(
                f"the poison queue {self._endpoints.poison_queue} did not respond within "
                f"{_QUEUE_SECONDS:g} s"
            ) from None

    async def until(self, condition: Callable[[Sample], bool]) -> Sample:
        """Return the first sample that meets the condition; raise the error that ended polling."""
        while not condition(self.latest):
            self.check()
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._changed.wait()
        return self.latest

    def check(self) -> None:
        """Raise the error that ended polling, if there is one."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error

    async def _watch_redis(self) -> None:
        async with async_redis(self._endpoints) as client:
            sampled, failing = 0.0, False
            while True:
                began = time.monotonic()
                try:
                    self.latest = await self.read(client)
                    self._changed.set()
                    failing = False
                except RedisError as error:
                    if not failing:
                        _log.warning(
                            "The observer cannot read Redis (%s: %s) and keeps polling",
                            type(error).__name__,
                            error,
                        )
                    failing = True
                if began - sampled >= _SAMPLE_SECONDS:
                    sampled = began
                    self.samples.append(self.latest)
                # A poll of many keys takes long; pause longer, so that Redis mostly serves the app.
                took = time.monotonic() - began
                await asyncio.sleep(min(_MOST_POLL_SECONDS, max(_POLL_SECONDS, 4 * took)))

    async def read(self, client: redis.asyncio.Redis) -> Sample:
        """Return a sample of Redis, with the latest figures of queue and site."""
        keys = self._keys
        pipeline = client.pipeline(transaction=False)
        pipeline.time()
        pipeline.hgetall(keys.circuit("circuit"))
        pipeline.zrange(keys.circuit("window"), 0, -1, withscores=True)
        pipeline.llen(keys.ledger("refused"))
        pipeline.get(keys.ledger("suppressed"))
        for name in self._dependencies:
            pipeline.hget(keys.dependency_circuit(name, "circuit"), "state")
        for key in keys.event_keys:
            pipeline.llen(keys.ledger(f"key:{key}"))
        (seconds, micros), circuit, window, refused, suppressed, *more = await pipeline.execute()
        states, lengths = more[: len(self._dependencies)], more[len(self._dependencies) :]
        now_us = seconds * 1_000_000 + micros
        deferred = await deferred_keys(client, keys.pipeline) if self.watches_lists else frozenset()
        self.deferred |= deferred
        return Sample(
            at_us=now_us,
            handled=sum(lengths),
            refused=refused,
            suppressed=int(suppressed or 0),
            poisoned=self._poisoned,
            failures=sum(score > now_us - self._window_us for _, score in window),
            state=circuit.get(b"state", b"closed").decode(),
            generation=int(circuit.get(b"generation", 0)),
            app_state=self._app_state,
            instances=self._instances,
            deferred=deferred,
            dependencies={
                name: (state or b"closed").decode()
                for name, state in zip(self._dependencies, states, strict=True)
            },
        )

    async def _watch_queue(self) -> None:
        async with AsyncExitStack() as opened:
            queue = await poison_queue(self._endpoints, opened, retry_total=0)
            while True:
                with contextlib.suppress(AzureError):
                    try:
                        properties = await queue.get_queue_properties()
                        count = properties.approximate_message_count or 0
                    except ResourceNotFoundError:
                        count = 0  # the first poison event creates the queue
                    if self._poisoned_before is None:
                        self._poisoned_before = count
                    self._poisoned = count - self._poisoned_before
                await asyncio.sleep(_SLOW_POLL_SECONDS)

    async def _watch_site(self) -> None:
        url, pause = self._endpoints.management_url, _SLOW_POLL_SECONDS
        if self._endpoints.is_azure:
            pause = _AZURE_POLL_SECONDS
        async with httpx.AsyncClient() as client, AsyncExitStack() as opened:
            while True:
                with contextlib.suppress(httpx.HTTPError, AzureError, KeyError, ValueError):
                    headers = await management_headers(self._endpoints, opened)
                    params = {"api-version": _SITES_VERSION}
                    answer = await client.get(url, params=params, headers=headers)
                    site = answer.json()["properties"]
                    self._app_state = str(site["state"])
                    self._instances = int(site.get("instances", 0))  # absent on Azure
                await asyncio.sleep(pause)
