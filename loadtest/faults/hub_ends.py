"""The faults of the hub's ends: a recreated hub, and events that expire before they are read.

Both faults wait until the sender holds and the app has handled all events. Then the run knows
exactly which events the hub loses.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from loadtest.errors import StackError
from loadtest.faults.hub import HubControl
from loadtest.faults.outage import retrying_client
from loadtest.observe.health import Health, HealthWatch
from loadtest.observe.observer import Observer
from loadtest.plan.chaos import ChaosPlan, FaultKind, PlannedFault
from loadtest.plan.hub_ends import NOTICE_SECONDS
from loadtest.target import operations
from loadtest.target.endpoints import Endpoints
from loadtest.target.keys import Keys
from loadtest.target.ownership import read_checkpoints

_POLL_SECONDS = 0.2
_PASSED_SECONDS, _CHECKPOINT_SECONDS = 120.0, 30.0
_APART_SECONDS = 1.5
"""The time between the last event that expires and the first event that the hub keeps."""
_SETTLE_SECONDS = 2.0
_WATCHED_SECONDS = 20.0
"""The time for which health is polled after a clock step; the app asks the hub every 15 s."""
_LONG_RETENTION_SECONDS = 86_400.0
_REWIND = ("--all", "--to-start", "--restart")


@dataclass(frozen=True, slots=True)
class Recreation:
    """A hub that was recreated; times are microseconds by this machine's clock.

    Attributes:
        created_us: the time from which the new hub existed.
        named_us: partition → the time of the first health report that named its hub as recreated.
        before: partition → sequence number of its checkpoint before the hub was deleted.
        at_command: partition → sequence number of its checkpoint before the operator's command.
        code: the exit code of the operator's command.
        output: the output of the command.
    """

    created_us: int
    named_us: Mapping[str, int]
    before: Mapping[str, int]
    at_command: Mapping[str, int]
    code: int | None
    output: str


@dataclass(frozen=True, slots=True)
class Expiry:
    """Events that the hub lost before the app could receive them.

    Attributes:
        begins: partition → sequence number of the first event that the hub still had.
        app_ran: whether the app ran, isolated, when the events expired.
        pending_seconds: the time from the loss until health named expired events, while the app was
            isolated; None if it did not.
        exact_seconds: the time from the app's return until health first named as many expired
            events as the hub had lost; None if health did not.
        health_said: the number that health named last.
    """

    begins: Mapping[str, int]
    app_ran: bool
    pending_seconds: float | None
    exact_seconds: float | None
    health_said: int


@dataclass(frozen=True, slots=True)
class ClockStep:
    """A broker's clock that was set back.

    Attributes:
        named_seconds: the time until health reported the step; None if health did not.
        mistaken: the partitions that health wrongly reported as those of a recreated hub.
    """

    named_seconds: float | None
    mistaken: frozenset[str]


class HubEnds:
    """The faults of the hub's ends.

    Attributes:
        recreation: what became of the recreated hub; None before.
        expiry: what became of the expired events; None before.
        expired: the number of events that the hub lost unhandled, as the ledger shows so far.
        clock: what health said about the step of the clock; None before.

    Args:
        sent: returns the number of events that the hub has acknowledged.
        release: lets the sender continue after its hold.
    """

    def __init__(
        self,
        plan: ChaosPlan,
        observer: Observer,
        endpoints: Endpoints,
        keys: Keys,
        consumer_group: str,
        *,
        sent: Callable[[], int],
        release: Callable[[], None],
    ) -> None:
        self.recreation: Recreation | None = None
        self.expiry: Expiry | None = None
        self.expired = 0
        self.clock: ClockStep | None = None
        self._holds = plan.holds
        self._observer = observer
        self._endpoints = endpoints
        self._keys = keys
        self._group = consumer_group
        self._sent = sent
        self._release = release
        self._hub = HubControl(endpoints.event_hub_control_url, endpoints.event_hub_name)

    async def recreate(self, fault: PlannedFault) -> str:
        """Recreate the hub while the hosts run, and repair the app as the runbook says."""
        await self._until_handled(self._holds[0])
        before = await self._checkpoints()
        hub = await self._hub.describe()
        async with HealthWatch(self._endpoints.state_dir) as watch:
            await self._hub.delete()
            await asyncio.sleep(fault.seconds)
            await self._hub.create(len(hub["partitions"]), hub["consumer_groups"])
            created_us = time.time_ns() // 1000
            self._release()
            named = await watch.until(
                lambda _: before.keys() <= watch.recreated_us.keys(), NOTICE_SECONDS
            )
            if named and fault.choice < 0.5:
                await self._until_all_sent()  # the hub has grown past the checkpoints
            at_command = await self._checkpoints()
            code, output = await operations.rewind(self._endpoints, *_REWIND)
            named_us = dict(watch.recreated_us)
        self.recreation = Recreation(created_us, named_us, before, at_command, code, output)
        last = output.rpartition("\n")[2]
        return f"named: partitions {', '.join(sorted(named_us)) or '-'}; rewind: {last}"

    async def set_clock_back(self, fault: PlannedFault) -> str:
        """Set the broker's clock back, wait until health reports the step, and poll on for a while.

        The sender holds until then, so that events follow the step on a slow machine, too.
        """
        await self._until_sent(self._holds[0])
        async with HealthWatch(self._endpoints.state_dir) as watch:
            offset, since = await self._hub.shift_clock(-fault.seconds), time.monotonic()
            self._release()
            seconds = await _seconds_until(watch, lambda health: health.steps_back, since=since)
            await asyncio.sleep(_WATCHED_SECONDS)
            self.clock = ClockStep(seconds, frozenset(watch.recreated_us))
        return f"its offset is {offset:g} s"

    async def expire(self, fault: PlannedFault) -> str:
        """Let events expire while the app is stopped, or while the circuit is isolated."""
        await self._until_handled(self._holds[0])
        app_ran = fault.kind is FaultKind.EXPIRED_WHILE_ISOLATED
        async with HealthWatch(self._endpoints.state_dir) as watch:
            async with self._isolated() if app_ran else self._stopped():
                begins = await self._lose(all_of_them=fault.choice < 0.5)
                pending = None
                if app_ran:
                    pending = await _seconds_until(watch, lambda health: bool(health.expired))
            returned_us = time.time_ns() // 1000
            self._release()
            await self._until_passed(begins)
            exact = await exact_seconds(watch, self.expired, returned_us=returned_us)
            said = watch.latest.expired_count
        self.expiry = Expiry(begins, app_ran, pending, exact, said)
        return f"{self.expired} events, health says {said}"

    @contextlib.asynccontextmanager
    async def _stopped(self) -> AsyncIterator[None]:
        try:
            await operations.stop(self._endpoints)
            yield
        finally:
            await operations.start(self._endpoints)

    @contextlib.asynccontextmanager
    async def _isolated(self) -> AsyncIterator[None]:
        await operations.isolate(self._endpoints)
        isolated = await self._observer.until(lambda sample: sample.state == "isolated")
        try:
            yield
        finally:
            await operations.close(self._endpoints, isolated.generation)

    async def _lose(self, *, all_of_them: bool) -> dict[str, int]:
        """Send events and let the first of them expire; return the hub's first kept numbers.

        The hub's retention is shortened for a moment, so that the loss has an exact border.
        """
        self._release()
        await self._until_sent(self._holds[1])
        await asyncio.sleep(_APART_SECONDS)
        border = time.time()
        await asyncio.sleep(_APART_SECONDS)
        self._release()
        await self._until_sent(self._holds[2])
        await asyncio.sleep(_APART_SECONDS)
        await self._hub.retain(_APART_SECONDS / 2 if all_of_them else time.time() - border)
        await self._hub.retain(_LONG_RETENTION_SECONDS)
        partitions = (await self._hub.describe())["partitions"]
        return {each["partition"]: int(each["begin_sequence_number"]) for each in partitions}

    async def _until_sent(self, count: int) -> None:
        while self._sent() < count:  # noqa: ASYNC110 - the producer is another process
            await asyncio.sleep(_POLL_SECONDS)

    async def _until_all_sent(self) -> None:
        """Wait until the sender has been silent for a while."""
        before = -1
        while before != (before := self._sent()):  # noqa: ASYNC110 - the producer is a process
            await asyncio.sleep(_SETTLE_SECONDS)

    async def _until_handled(self, hold: int) -> None:
        await self._until_sent(hold)
        await self._observer.until(lambda sample: sample.handled >= self._sent())
        await self._until_checkpointed()

    async def _until_checkpointed(self) -> None:
        """Wait until the checkpoints have reached the hub's end."""
        partitions = (await self._hub.describe())["partitions"]
        ends = {each["partition"]: int(each["last_sequence_number"]) for each in partitions}
        wanted = {partition: last for partition, last in ends.items() if last >= 0}
        try:
            async with asyncio.timeout(_CHECKPOINT_SECONDS):
                while await self._checkpoints() != wanted:  # noqa: ASYNC110 - in storage
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise StackError(
                f"the checkpoints are {await self._checkpoints()} {_CHECKPOINT_SECONDS:g} s after "
                f"the last event was handled; the hub ends at {wanted}"
            ) from None

    async def _checkpoints(self) -> dict[str, int]:
        return await read_checkpoints(self._endpoints, self._group)

    async def _until_passed(self, begins: Mapping[str, int]) -> None:
        """Wait until each partition has handled an event behind the loss, and count the loss.

        The app may still handle events that it had received before they expired.
        """
        before, give_up_at = -1, time.monotonic() + _PASSED_SECONDS
        while True:
            handled = await self._handled()
            self.expired = sum(
                begin - sum(number < begin for number in handled.get(partition, ()))
                for partition, begin in begins.items()
            )
            passed = all(max(handled.get(each, {-1})) >= begin for each, begin in begins.items())
            if passed and self.expired == before:
                return
            if time.monotonic() >= give_up_at:
                raise StackError(
                    f"no event behind the loss was handled within {_PASSED_SECONDS:g} s"
                )
            before = self.expired
            await asyncio.sleep(_SETTLE_SECONDS)

    async def _handled(self) -> dict[str, set[int]]:
        """Return partition → the sequence numbers in the ledger."""
        found: dict[str, set[int]] = {}
        async with retrying_client(self._endpoints) as client:
            for key in self._keys.event_keys:
                entries: Any = await client.lrange(self._keys.ledger(f"key:{key}"), 0, -1)
                for entry in entries:
                    _, partition, number, *_ = entry.decode().split(" ")
                    found.setdefault(partition, set()).add(int(number))
        return found


async def exact_seconds(watch: HealthWatch, expired: int, *, returned_us: int) -> float | None:
    """Return the seconds from the app's return until health first named this number of events.

    The number is known only later, so the result may be longer than `NOTICE_SECONDS`.

    Args:
        watch: has recorded the reports since the app's return.
        expired: the number of events that the hub has lost.
        returned_us: the time of the app's return, microseconds by this machine's clock.

    Returns:
        None if the latest report has another number, and no report had this one in time.
    """
    left = max(0.0, NOTICE_SECONDS - (time.time_ns() // 1000 - returned_us) / 1e6)
    if not await watch.until(lambda health: health.expired_count == expired, left):
        return None
    return max(0.0, (watch.expired_us[expired] - returned_us) / 1e6)


async def _seconds_until(
    watch: HealthWatch, condition: Callable[[Health], bool], *, since: float | None = None
) -> float | None:
    """Return the seconds until a health report met the condition; None if none did in time.

    The seconds count from the monotonic time `since`, or from now.
    """
    since = time.monotonic() if since is None else since
    left = max(0.0, since + NOTICE_SECONDS - time.monotonic())
    return time.monotonic() - since if await watch.until(condition, left) else None
