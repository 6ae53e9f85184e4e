"""The host: hands batches to instances, writes checkpoints, and moves partitions."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from breaker import BreakerError
from processing.errors import ProcessingError
from processing.event import EventBatch
from processing.identity import Source
from tests.model.instance import Instance
from tests.model.sink import INVOCATION, Invocation

if TYPE_CHECKING:
    from tests.model.world import World


class Host:
    """The host of the instances; each partition belongs to at most one of them.

    An instance whose partition was given to another one finishes its invocation, and may even run
    it again and write its checkpoint: it does not know better.

    Attributes:
        checkpoints: the last event of each partition that is not delivered again.
        terms: number of changes of each partition's owner.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = world.rng
        self.checkpoints = dict.fromkeys(world.hub, -1)
        self.terms = dict.fromkeys(world.hub, 0)
        self.owners: dict[str, int | None] = dict.fromkeys(world.hub)
        self.instances: list[Instance | None] = [None] * world.plan.instances
        self.paused = False
        self._pumps: set[asyncio.Task[None]] = set()
        self._starts = 0

    async def start_instance(self, number: int) -> None:
        """Start an instance, and give it a share of the partitions without an owner."""
        if self.instances[number] is not None or self.paused:
            return
        self._starts += 1
        instance = Instance(self._world, f"instance {number}.{self._starts}")
        self.instances[number] = instance
        await instance.node.start(instance.open())
        self._give_away()

    def kill_instance(self, number: int) -> None:
        """Kill an instance; other instances get its partitions."""
        instance, self.instances[number] = self.instances[number], None
        if instance is not None:
            instance.node.kill()
            self._release(number)

    async def stop_instance(self, number: int) -> None:
        """Shut an instance down in order; other instances get its partitions afterwards."""
        instance = self.instances[number]
        if instance is None or instance.stopping:
            return
        await instance.node.start(instance.close())
        if self.instances[number] is instance:
            self.instances[number] = None
            self._release(number)

    async def stop_all(self) -> None:
        """Stop the app, and wait until no invocation runs."""
        self.paused = True
        for number in range(len(self.instances)):
            with suppress(asyncio.CancelledError):
                await self.stop_instance(number)
        # `gather` does not suspend for tasks that have ended, so they could never leave the set.
        while pumps := [each for each in self._pumps if not each.done()]:
            await asyncio.gather(*pumps, return_exceptions=True)

    async def start_all(self) -> None:
        """Start the app again."""
        self.paused = False
        for number in range(len(self.instances)):
            await self.start_instance(number)

    def rebalance(self, partition: str, number: int) -> None:
        """Give a partition to another instance."""
        if self.instances[number] is not None and not self.paused:
            self._give(partition, number)

    def _release(self, number: int) -> None:
        for partition, owner in self.owners.items():
            if owner == number:
                self.terms[partition] += 1
                self.owners[partition] = None
        self._give_away()

    def _give_away(self) -> None:
        running = [
            number
            for number, each in enumerate(self.instances)
            if each is not None and not each.stopping
        ]
        for partition, owner in self.owners.items():
            if owner is None and running and not self.paused:
                self._give(partition, self._rng.choice(running))

    def _give(self, partition: str, number: int) -> None:
        instance = self.instances[number]
        assert instance is not None
        self.terms[partition] += 1
        self.owners[partition] = number
        pump = instance.node.start(self._pump(instance, partition, self.terms[partition]))
        self._pumps.add(pump)
        pump.add_done_callback(self._pumps.discard)

    async def _pump(self, instance: Instance, partition: str, term: int) -> None:
        """Hand the partition's events to the instance until another instance gets the partition."""
        node, world = instance.node, self._world
        await node.wait(self._rng.random())
        position = self.checkpoints[partition] + 1
        while self.terms[partition] == term and not instance.stopping:
            count = self._rng.randint(1, world.plan.batch)
            events = world.arrived(partition)[position : position + count]
            if not events:
                await node.wait(0.5 * world.plan.tick)
                continue
            batch = EventBatch(Source(world.identity, partition), events)
            if not await self._invoke(instance, batch, term):
                return
            if self.terms[partition] != term and self._rng.random() < 0.5:
                return
            await node.travel()
            world.check_checkpoint(partition, events[-1].sequence_number, node)
            self.checkpoints[partition] = events[-1].sequence_number
            position = events[-1].sequence_number + 1

    async def _invoke(self, instance: Instance, batch: EventBatch, term: int) -> bool:
        """Invoke the processor again and again until it returns; return whether it did."""
        partition = batch.source.partition
        while True:
            invocation = Invocation(batch.source)
            INVOCATION.set(invocation)
            try:
                await instance.processor.process(batch)
            except (ProcessingError, BreakerError) as error:
                instance.last_error = error
            except Exception as error:
                self._world.sink.note(f"the batch raised {error!r}", instance.node)
                return False
            else:
                return True
            if instance.stopping:
                return False
            if self.terms[partition] != term and self._rng.random() < 0.7:
                return False
            await instance.node.wait(self._rng.uniform(0.5, 3) * self._world.plan.tick)
