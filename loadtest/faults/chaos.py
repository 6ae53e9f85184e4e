"""The execution of a chaos plan, which records when each fault really happened."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import httpx
from azure.core.exceptions import AzureError
from redis.exceptions import RedisError

from loadtest.errors import LoadTestError, StackError
from loadtest.faults import redis_data
from loadtest.faults.hub import HubControl
from loadtest.faults.hub_ends import HubEnds
from loadtest.faults.outage import retrying_client, set_outage
from loadtest.faults.redis_failover import RedisFailover
from loadtest.faults.services import Services
from loadtest.observe.observer import Observer
from loadtest.plan.chaos import KILLS, LASTING, ChaosPlan, FaultKind, PlannedFault
from loadtest.target.endpoints import Endpoints
from loadtest.target.hosts import HostInstance, host_instances, signal_host
from loadtest.target.keys import Keys
from loadtest.target.ownership import delete_checkpoints

_TAKING_TIME = frozenset(
    {
        FaultKind.REDIS_RESTARTED,
        FaultKind.STORAGE_RESTARTED,
        FaultKind.OUTAGE,
        FaultKind.REDIS_EMPTIED,
        FaultKind.HUB_RECREATED,
        FaultKind.EXPIRED_WHILE_STOPPED,
        FaultKind.EXPIRED_WHILE_ISOLATED,
        FaultKind.CLOCK_SET_BACK,
        FaultKind.REDIS_FAILED_OVER,
        FaultKind.REDIS_WITHOUT_REPLICA,
        FaultKind.REDIS_MUTED,
    }
)
_MOST_REDELIVERED = 500
_DEFERRED_SECONDS = 30.0
_HOST_SECONDS = 60.0
"""The wait for an instance to signal; the app may be stopped until an approval."""


@dataclass(frozen=True, slots=True)
class FaultDone:
    """A fault as it happened; times by this machine's clock, which the local Redis shares.

    Attributes:
        ended_us: None for a fault without duration.
        detail: the process or resource that the fault hit.
    """

    kind: FaultKind
    began_us: int
    ended_us: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of the stack that faults hit.

    Attributes:
        add_host: starts another host instance.
        release: lets the sender continue at its next hold, because an outage has begun.
        sent: returns the number of events that the hub has acknowledged.
    """

    endpoints: Endpoints
    keys: Keys
    consumer_group: str
    add_host: Callable[[], Awaitable[None]]
    release: Callable[[], None]
    sent: Callable[[], int]


class Chaos:
    """The faults of one plan; `run()` returns when every fault is over.

    Attributes:
        done: the finished faults, in the order in which they ended.
        over: whether all faults are finished.
        hub_ends: the faults of the hub's ends.
        failover: the faults of a Redis with a replica.
    """

    def __init__(
        self, plan: ChaosPlan, observer: Observer, target: Target, print_line: Callable[[str], None]
    ) -> None:
        self.done: list[FaultDone] = []
        self.over = False
        self._plan = plan
        self._observer = observer
        self._target = target
        self._print_line = print_line
        self._services = Services(target.endpoints.state_dir)
        self._hub = HubControl(
            target.endpoints.event_hub_control_url, target.endpoints.event_hub_name
        )
        self.hub_ends = HubEnds(
            plan,
            observer,
            target.endpoints,
            target.keys,
            target.consumer_group,
            sent=target.sent,
            release=target.release,
        )
        self.failover = RedisFailover(target.endpoints, target.release)
        self._actions: Mapping[FaultKind, Callable[[PlannedFault], Awaitable[str]]] = {
            FaultKind.HOST_KILLED: self._kill_host,
            FaultKind.HOST_TERMINATED: self._terminate_host,
            FaultKind.HOST_ADDED: self._add_host,
            FaultKind.LINKS_DETACHED: self._detach,
            FaultKind.CONNECTIONS_CUT: self._cut,
            FaultKind.HUB_BUSY: self._throttle,
            FaultKind.HUB_PAUSED: self._pausing("event-hubs"),
            FaultKind.EVENTS_REDELIVERED: self._redeliver,
            FaultKind.CHECKPOINTS_LOST: self._lose_checkpoints,
            FaultKind.REDIS_RESTARTED: self._restart_redis,
            FaultKind.REDIS_PAUSED: self._pausing("redis"),
            FaultKind.STORAGE_RESTARTED: self._restart_storage,
            FaultKind.STORAGE_PAUSED: self._pausing("azurite"),
            FaultKind.TOPIC_DOWN: self._pausing("cloud"),
            FaultKind.OUTAGE: self._outage,
            FaultKind.REDIS_FILLED: self._fill_redis,
            FaultKind.REDIS_EMPTIED: self._empty_redis,
            FaultKind.HUB_RECREATED: self.hub_ends.recreate,
            FaultKind.EXPIRED_WHILE_STOPPED: self.hub_ends.expire,
            FaultKind.EXPIRED_WHILE_ISOLATED: self.hub_ends.expire,
            FaultKind.CLOCK_SET_BACK: self.hub_ends.set_clock_back,
            FaultKind.REDIS_FAILED_OVER: self.failover.fail_over,
            FaultKind.REDIS_WITHOUT_REPLICA: self.failover.lose_replica,
            FaultKind.REDIS_MUTED: self.failover.mute,
        }

    @property
    def faults(self) -> tuple[FaultDone, ...]:
        """The finished faults, in the order in which they began."""
        return tuple(sorted(self.done, key=lambda fault: fault.began_us))

    @property
    def kills(self) -> int:
        """The number of hosts killed with SIGKILL so far."""
        return sum(fault.kind in KILLS for fault in self.done)

    async def run(self) -> None:
        """Inject every fault; faults may overlap.

        Raises:
            LoadTestError: a fault could not be injected, so the run would prove nothing.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for fault in self._plan.faults:
                    group.create_task(self._do(fault))
        except* LoadTestError as errors:
            raise errors.exceptions[0] from None
        self.over = True

    async def _do(self, fault: PlannedFault) -> None:
        await self._observer.until(
            lambda sample: (
                sample.refused >= fault.after_refused
                if fault.after_refused
                else sample.handled >= fault.after_handled
            )
        )
        await asyncio.sleep(fault.delay_seconds)
        lasting = f" for {fault.seconds:g} s" if fault.seconds else ""
        self._print_line(f"fault: {fault.kind}{lasting}")
        began_us = now_us()
        try:
            detail = await self._actions[fault.kind](fault)
        except (httpx.HTTPError, RedisError, OSError) as error:
            raise StackError(
                f"the fault '{fault.kind}' failed: {type(error).__name__}: {error}"
            ) from error
        ended_us = now_us() if fault.kind in LASTING or fault.kind in _TAKING_TIME else None
        self.done.append(FaultDone(fault.kind, began_us, ended_us, detail))

    async def _kill_host(self, fault: PlannedFault) -> str:
        return _named(await self._signal_host(fault, signal.SIGKILL))

    async def _terminate_host(self, fault: PlannedFault) -> str:
        return _named(await self._signal_host(fault, signal.SIGTERM))

    async def _signal_host(self, fault: PlannedFault, number: signal.Signals) -> HostInstance:
        try:
            async with asyncio.timeout(_HOST_SECONDS):
                while True:
                    hosts = host_instances(self._target.endpoints.state_dir)
                    if hosts:
                        host = hosts[int(fault.choice * len(hosts))]
                        if signal_host(host, number):
                            return host
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise StackError(
                f"no host instance to signal came up within {_HOST_SECONDS:g} s"
            ) from None

    async def _add_host(self, fault: PlannedFault) -> str:
        del fault
        await self._target.add_host()
        return "one more instance"

    async def _detach(self, fault: PlannedFault) -> str:
        del fault
        return f"{await self._hub.detach(self._target.consumer_group)} links"

    async def _cut(self, fault: PlannedFault) -> str:
        politely = fault.choice < 0.5
        count = await self._hub.drop(politely=politely)
        return f"{count} connections, {'with' if politely else 'without'} an AMQP close"

    async def _throttle(self, fault: PlannedFault) -> str:
        await self._hub.throttle(fault.seconds)
        await asyncio.sleep(fault.seconds)
        return f"reports busy for {fault.seconds:g} s"

    async def _redeliver(self, fault: PlannedFault) -> str:
        events = 1 + int(fault.choice * _MOST_REDELIVERED)
        return f"{await self._hub.redeliver(events)} events"

    async def _lose_checkpoints(self, fault: PlannedFault) -> str:
        host = await self._signal_host(fault, signal.SIGKILL)
        endpoints = self._target.endpoints
        while True:
            try:
                count = await delete_checkpoints(endpoints, self._target.consumer_group)
            except AzureError:  # another fault has paused or restarted storage
                await asyncio.sleep(0.2)
            else:
                return f"{count} checkpoints; {_named(host)} killed"

    def _pausing(self, service: str) -> Callable[[PlannedFault], Awaitable[str]]:
        async def pause(fault: PlannedFault) -> str:
            async with self._services.paused(service) as pid:
                await asyncio.sleep(fault.seconds)
            return f"pid {pid} does not respond for {fault.seconds:g} s"

        return pause

    async def _restart_redis(self, fault: PlannedFault) -> str:
        """Kill Redis with SIGKILL; the kernel still writes its append-only file."""
        del fault
        pid = await self._services.end("redis", signal.SIGKILL)
        async with retrying_client(self._target.endpoints) as client:
            await client.time()
        return f"pid {pid} killed, data kept"

    async def _restart_storage(self, fault: PlannedFault) -> str:
        """Terminate Azurite with SIGTERM; with SIGKILL it would lose up to five seconds of data."""
        del fault
        before = await self._services.end("azurite", signal.SIGTERM)
        await self._services.pid("azurite")
        return f"pid {before} terminated, data kept"

    async def _fill_redis(self, fault: PlannedFault) -> str:
        size = await redis_data.fill(self._target.endpoints, fault.seconds)
        return f"{size // 1024} KiB of ballast, taken away again"

    async def _empty_redis(self, fault: PlannedFault) -> str:
        """Delete the app's keys once a key is deferred, and repair it as the runbook says."""
        del fault
        endpoints = self._target.endpoints
        try:
            async with asyncio.timeout(_DEFERRED_SECONDS):
                sample = await self._observer.until(lambda sample: bool(sample.deferred))
        except TimeoutError:
            raise StackError(
                f"no key was deferred within {_DEFERRED_SECONDS:g} s, so that an emptied Redis "
                "would have lost nothing"
            ) from None
        keys = await redis_data.empty(endpoints)
        done = await redis_data.rewind_to_marks(endpoints)
        return f"{keys} keys, {len(sample.deferred)} event keys were deferred; {done}"

    async def _outage(self, fault: PlannedFault) -> str:
        """Let the downstream refuse calls until the operator has repaired it and approved."""
        del fault
        target = self._target
        await set_outage(target.endpoints, target.keys)
        target.release()
        async with retrying_client(target.endpoints) as client:
            while await client.exists(target.keys.ledger("outage")):  # noqa: ASYNC110 - in Redis
                await asyncio.sleep(0.1)
        return f"until generation {self._observer.latest.generation} was approved"


def _named(host: HostInstance) -> str:
    return f"instance {host.instance} ({host.pid})"


def now_us() -> int:
    """Return this machine's time in microseconds, which the local Redis shares."""
    return time.time_ns() // 1000
