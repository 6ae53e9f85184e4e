"""Runs of the model in simulated time, on the memory stores."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from random import Random
from unittest import mock

from processing.parking.batch import Marks
from processing.parking.marks import MarkStore
from processing.parking.partition_marks import PartitionMarks
from processing.parking.store import ParkingStore
from tests.model.cluster import MemoryCluster, ModelParkingStore
from tests.model.plan import Plan
from tests.model.world import World
from tests.support.jumping_loop import run_simulated


def run_model(
    plan: Plan,
    parking: type[ModelParkingStore] = ModelParkingStore,
    *,
    marking: Callable[[MarkStore, ParkingStore], Marks] = PartitionMarks,
    replicas: int = 1,
) -> list[str]:
    """Run a plan in simulated time, and return what broke a promise.

    Args:
        plan: the plan.
        parking: the type of the parking store.
        marking: returns the marks of a process.
        replicas: number of replicas that must confirm a write, if the plan has a replica.
    """

    async def run() -> list[str]:
        loop = asyncio.get_running_loop()
        with mock.patch("time.monotonic", loop.time):  # of budgets, and of tenacity
            limits = {
                "most": plan.settings["parked_events_max"],
                "most_events": plan.settings["deferred_events_max"],
            }
            cluster = MemoryCluster(
                Random(plan.seed),  # noqa: S311 - no secret
                parking,
                limits,
                replicas=replicas if plan.replica else 0,
                lag=plan.lag if plan.replica else 0.0,
            )
            world = World(plan, cluster, marking)
            await world.run()
            return world.sink.faults

    state = random.getstate()
    random.seed(plan.seed)  # of tenacity
    logging.disable(logging.CRITICAL)
    try:
        return run_simulated(run())
    finally:
        logging.disable(logging.NOTSET)
        random.setstate(state)
