"""An isolation of an open circuit that ends runs the chain as any opening does."""

from __future__ import annotations

from tests.chain.clocks import HOUR, MINUTE
from tests.chain.faults import Call
from tests.chain.infra import DEFINITION
from tests.chain.matrix import quiet
from tests.chain.world import World


def generations(world: World, call: Call) -> list[int]:
    """Return the circuit's generation at each request of a kind that was carried out."""
    return [done.generation for done in world.done_requests if done.seen.call is call]


def where(world: World) -> tuple[str, int]:
    return world.state, world.generation


async def test_end_of_an_isolation_stops_the_app_and_asks() -> None:
    """The run of the first opening starts the app; the run of the new opening stops it and asks."""
    world = World(DEFINITION, (), accepts_early=True)
    approvals = world.console.circuits.app.approvals

    async def asked(generation: int) -> bool:
        return [run.generation for run in (await approvals.status()).waiting] == [generation]

    with quiet():
        try:
            await world.begin()
            await world.until(lambda: bool(generations(world, Call.SUBSCRIBE)), HOUR)
            assert await asked(2)
            await world.done(world.operator.isolate("30m"))
            await world.until(lambda: world.site.running, 20 * MINUTE)
            assert (where(world), world.site.running) == (("isolated", 3), True)

            await world.until(lambda: world.generation == 4, HOUR)
            assert where(world) == ("open", 4)
            await world.until(lambda: 4 in generations(world, Call.SUBSCRIBE), HOUR)
            assert await asked(4)
            assert generations(world, Call.STOP) == [2, 4]
            assert generations(world, Call.MAIL) == [2, 4]
            assert world.site.stopped_at is not None

            await world.settle()
            assert world.is_quiet
            assert world.generation == 4
        finally:
            await world.aclose()


async def test_end_of_an_isolation_of_a_closed_circuit_asks_nobody() -> None:
    """The app was never stopped, and the circuit is closed again."""
    world = World(DEFINITION, (), accepts_early=True)
    with quiet():
        try:
            await world.begin()
            await world.settle()
            assert world.is_quiet
            before = len(world.done_requests)
            await world.done(world.operator.isolate("30m"))
            await world.until(lambda: world.state == "closed", HOUR)
            await world.until(lambda: False, HOUR)
            assert (world.state, world.generation) == ("closed", 3)
            assert world.site.running
            assert world.done_requests[before:] == []
        finally:
            await world.aclose()
