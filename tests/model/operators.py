"""Operators: they redrive, rewind, and bring back what Redis has lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from processing.errors import ProcessingError
from processing.identity import Source
from processing.parking.event import Position
from processing.partitions.rewind import Rewind
from processing.partitions.rewind_plan import RewindPlan, RewindRefusedError
from processing.partitions.rewind_stores import RewindStores
from processing.poison.discard_records import DiscardRecords
from processing.poison.memory import MemoryClaimChecks
from processing.redrive.selection import Selection
from tests.model.hub import Checkpoints, Positions
from tests.model.instance import Operator
from tests.model.plan import Place

if TYPE_CHECKING:
    from tests.model.world import World


class Operators:
    """The operators of one run, and what they expect from a rewind."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._handled_before: set[Place] = set()  # before the latest rewind

    async def redrive(self, key: str | None = None) -> None:
        """Redrive one key, or everything."""
        operator = Operator(self._world, "redrive")
        redrive = operator.redrive(self._world)
        with suppress(ProcessingError):
            await operator.node.start(redrive.run(Selection(key=key)))

    async def rewind(self, partition: str, number: int) -> None:
        """Rewind a partition to an event."""
        checkpoint = self._world.host.checkpoints[partition]
        losses = self._world.cluster.losses
        done = await self._rewind_with(lambda rewind: rewind.plan([partition], number))
        if done and losses == self._world.cluster.losses:
            self._expect_repeats(partition, number, checkpoint)

    async def rewind_to_marks(self) -> None:
        """Bring back what Redis has lost."""
        await self._rewind_with(lambda rewind: rewind.plan_to_marks(None))

    async def _rewind_with(self, plan: Callable[[Rewind], Awaitable[RewindPlan]]) -> bool:
        """Stop the app, rewind, and start the app again; return whether there was a rewind."""
        if self._world.host.paused:
            return False
        await self._world.host.stop_all()
        operator = Operator(self._world, "rewind")
        rewind = Rewind(
            RewindStores(
                checkpoints=Checkpoints(self._world.host),
                positions=Positions(self._world),
                progress=operator.progress,
                parking=operator.store,
                marks=operator.marks,
                discards=DiscardRecords(MemoryClaimChecks()),
                identity=self._world.identity,
            )
        )

        async def command() -> bool:
            for _ in range(1000):
                try:
                    found = await plan(rewind)
                    if found.left_out:
                        await operator.node.wait(1)
                        continue
                    await rewind.run(found.steps)
                except RewindRefusedError:
                    return False
                except ProcessingError:
                    await operator.node.wait(1)
                else:
                    return True
            return False

        done = await operator.node.start(command())
        await self._world.host.start_all()
        return done

    def finished_late(self, source: Source, position: Position) -> None:
        """Expect that an event is handled again if it was handled before the latest rewind."""
        number = int(position.partition(":")[2])
        each = self._world.hub[source.partition][number]
        if (
            (source.partition, number) in self._handled_before
            and number > self._world.host.checkpoints[source.partition]
            and not self._world.cluster.is_finished(each)
            and not self._world.cluster.losses
        ):
            self._world.sink.repeats.add((source.partition, number))

    def _expect_repeats(self, partition: str, first: int, checkpoint: int) -> None:
        """Expect that the rewound events that wait in no list are handled again."""
        self._world.sink.rewound = True
        self._handled_before = {place for place, count in self._world.sink.handled.items() if count}
        self._handled_before -= self._world.queue.had
        for each in self._world.hub[partition][first : checkpoint + 1]:
            place = (partition, each.sequence_number)
            key = self._world.sink.list_of(each)
            if (
                self._world.sink.handled[place]
                and place not in self._world.queue.had
                and not self._world.cluster.holds(each, key)
            ):
                self._world.sink.repeats.add(place)
