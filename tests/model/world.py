"""One run of the model: events, instances, operators, faults, and the check at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from breaker import MemoryCircuitStore
from processing.errors import ParkedEventsLostError
from processing.event import Event
from processing.identity import Identity, Source
from processing.parking.batch import Marks
from processing.parking.marks import MarkStore
from processing.parking.memory_marks import MemoryMarkStore
from processing.parking.partition_marks import PartitionMarks
from processing.parking.store import ParkingStore
from processing.poison.memory import MemoryClaimChecks, MemoryPoisonReader
from tests.model.cluster import Cluster, MemoryCluster, Service
from tests.model.host import Host
from tests.model.node import Node
from tests.model.operators import Operators
from tests.model.plan import FOREVER, Fault, FaultKind, Place, Plan
from tests.model.sink import ModelPoisonQueue, Sink
from tests.support.processing.events import IDENTITY, event

DRAIN_SECONDS = 4 * 3600.0


class World:
    """One run of a plan."""

    def __init__(
        self,
        plan: Plan,
        cluster: Cluster,
        marking: Callable[[MarkStore, ParkingStore], Marks] = PartitionMarks,
        identity: Identity = IDENTITY,
    ) -> None:
        self.plan = plan
        self.identity = identity
        self.rng = cluster.rng
        self.cluster = cluster
        self.hub = {
            partition: [
                event(
                    number,
                    key,
                    source=Source(identity, partition),
                    enqueued_ms=int((cluster.start + at) * 1000) + number,
                )
                for number, (key, at) in enumerate(zip(keys, plan.arrivals[partition], strict=True))
            ]
            for partition, keys in plan.keys.items()
        }
        self.storage = Service(self.rng)
        self.circuit = MemoryCircuitStore("model", now_us=self._now_us)
        self.sink = Sink(plan, self.hub, self.cluster)
        self.queue = ModelPoisonQueue(self.sink)
        self.reader = MemoryPoisonReader(self.queue)
        self.claims = MemoryClaimChecks()
        self.marks = MemoryMarkStore()
        self.marking = marking
        self.host = Host(self)
        self._commands: set[asyncio.Task[None]] = set()
        self.operators = Operators(self)
        if isinstance(cluster, MemoryCluster):
            cluster.parking.finished_late = self.operators.finished_late

    def _now_us(self) -> int:
        return int((self.cluster.start + asyncio.get_running_loop().time()) * 1_000_000)

    def arrived(self, partition: str) -> Sequence[Event]:
        """Return the partition's events that are in the hub."""
        now = asyncio.get_running_loop().time()
        arrivals = self.plan.arrivals[partition]
        if now >= arrivals[-1]:
            return self.hub[partition]
        return self.hub[partition][: sum(at <= now for at in arrivals)]

    def check_checkpoint(self, partition: str, number: int, node: Node) -> None:
        """Note the events that a checkpoint passes although they are nowhere."""
        if self.cluster.losses:
            return  # judged at the end
        for each in self.hub[partition][: number + 1]:
            place = (partition, each.sequence_number)
            if (
                not self.sink.handled[place]
                and place not in self.queue.had
                and not self.cluster.holds(each, self.sink.list_of(each))
            ):
                self.sink.note(f"the checkpoint {number} passes event {place}", node)

    async def run(self) -> None:
        """Run the plan, heal everything, and drain."""
        replica = asyncio.create_task(self.cluster.replicate())
        await self.host.start_all()
        for fault in self.plan.faults:
            await asyncio.sleep(max(0, fault.at - asyncio.get_running_loop().time()))
            task = asyncio.create_task(self._cause(fault))
            self._commands.add(task)
            task.add_done_callback(self._commands.discard)
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0, self.plan.horizon - loop.time()))
        await asyncio.gather(*self._commands, return_exceptions=True)
        await self._heal()
        await self._drain()
        self._check()
        replica.cancel()
        await self.host.stop_all()

    async def _cause(self, fault: Fault) -> None:
        host, kind = self.host, fault.kind
        match kind:
            case FaultKind.KILL:
                host.kill_instance(fault.instance)
                await asyncio.sleep(fault.seconds)
                await host.start_instance(fault.instance)
            case FaultKind.STOP:
                with suppress(asyncio.CancelledError):  # it may be killed while it stops
                    await host.stop_instance(fault.instance)
                await asyncio.sleep(fault.seconds)
                await host.start_instance(fault.instance)
            case FaultKind.REBALANCE:
                host.rebalance(fault.partition, fault.instance)
            case FaultKind.FREEZE:
                self._freeze(fault)
            case FaultKind.REDIS_DOWN:
                self.cluster.go_down(fault.seconds)
            case FaultKind.FAILOVER:
                self.cluster.fail_over()
                self.sink.repeats.clear()  # no replica confirms a rewind
            case FaultKind.EMPTY:
                self.cluster.lose_data()
                await asyncio.sleep(fault.seconds)
                await self.operators.rewind_to_marks()
            case FaultKind.CLOCK:
                self.cluster.jumped += fault.seconds
            case FaultKind.REDRIVE:
                await self.operators.redrive(fault.key)
            case FaultKind.REWIND:
                await self.operators.rewind(fault.partition, fault.number)

    def _freeze(self, fault: Fault) -> None:
        """Let the owner, or any instance, stand still; often it loses its partitions."""
        host, number = self.host, fault.instance
        owner = host.owners[fault.partition]
        if owner is not None and self.rng.random() < 0.7:
            number = owner
        instance = host.instances[number]
        if instance is None:
            return
        instance.node.freeze(fault.seconds)
        others = [n for n, each in enumerate(host.instances) if each is not None and n != number]
        for partition, owner in host.owners.items():
            if others and owner == number and self.rng.random() < 0.7:
                host.rebalance(partition, self.rng.choice(others))

    async def _heal(self) -> None:
        self.sink.healed = True
        self.cluster.heal()
        await self.host.stop_all()  # an old owner may write an old checkpoint until its end
        self.cluster.expire_leases()
        await self.host.start_all()

    async def _drain(self) -> None:
        """Let everything finish, with an operator who redrives now and then."""
        loop = asyncio.get_running_loop()
        until = loop.time() + DRAIN_SECONDS * self.plan.tick
        while loop.time() < until:
            await asyncio.sleep(20 * self.plan.tick)
            if self._is_drained():
                return
            if any(isinstance(error, ParkedEventsLostError) for error in self._errors()):
                await self.operators.rewind_to_marks()
            self.reader.expire_holds()  # of a redrive that lost its connection
            await self.operators.redrive()
        ends = {each: len(events) - 1 for each, events in self.hub.items()}
        errors = [repr(error) for error in self._errors()]
        self.sink.note(
            f"stuck: checkpoints {self.host.checkpoints} of {ends}, lists "
            f"{self.cluster.lists()}, last errors {errors}"
        )

    def _errors(self) -> list[Exception]:
        errors = [each.last_error for each in self.host.instances if each is not None]
        return [error for error in errors if error is not None]

    def _is_drained(self) -> bool:
        return (
            all(self.host.checkpoints[each] == len(events) - 1 for each, events in self.hub.items())
            and not self.cluster.lists()
            and all(self._is_over(place) for place in self._places())
        )

    def _is_over(self, place: Place) -> bool:
        if self._is_bad_forever(place):
            return place in self.queue.had
        return self.sink.handled[place] > 0

    def _is_bad_forever(self, place: Place) -> bool:
        return FOREVER in (self.plan.poison.get(place), self.plan.broken.get(place))

    def _places(self) -> list[Place]:
        return [
            (partition, each.sequence_number)
            for partition, events in self.hub.items()
            for each in events
        ]

    def _check(self) -> None:
        lost = [place for place in self._places() if not self._is_over(place)]
        if lost:
            self.sink.note(f"lost: {lost}")
        if self.sink.repeats:
            self.sink.note(f"not handled again after a rewind: {sorted(self.sink.repeats)}")
        if self.sink.duplicates and self.plan.is_quiet:
            self.sink.note(f"{self.sink.duplicates} duplicates without a reason")
