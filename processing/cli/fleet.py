"""The health of an app as its stores show it, without an instance of the app."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from breaker import CircuitBreaker, CircuitState, Registration, StoreUnavailableError
from breaker.cli.circuits import opened as opened_circuits
from breaker.cli.lines import NEVER_REGISTERED
from processing.errors import StorageUnavailableError
from processing.monitoring.health import Health, HealthReport
from processing.monitoring.poison_count import PoisonCount
from processing.monitoring.redis_vitals import RedisVitalsReader
from processing.monitoring.stall import Watch
from processing.site.statement import RUN_START, Line, Seen, statement
from processing.site.watch import SiteWatch, held_by
from processing.wiring import Wiring

RECENT_SECONDS = 15.0
"""Age of an instance's last report up to which its problem counts."""

_NO_NAME = "health/"
"""A prefix that no blob's name has: one request shows whether the container can be read."""


@dataclass(frozen=True, slots=True)
class FleetHealth:
    """The health of an app.

    Attributes:
        report: the report that an instance without partitions would give.
        breaker: the app's circuit, with the rules that the app's instances use.
        dependencies: the circuits of the dependencies, by name.
        registration: the instances that poll the circuit; None: they are of version 0.1.
        seen: what is seen of the function app.
        poison: the number of poison messages; None if a queue cannot be read.
        blob_problems: why the blobs cannot be read.
        instance_problems: the problems that instances reported lately.
    """

    report: HealthReport
    breaker: CircuitBreaker
    dependencies: Mapping[str, CircuitBreaker]
    registration: Registration | None
    seen: Seen
    poison: PoisonCount | None
    blob_problems: tuple[str, ...]
    instance_problems: tuple[str, ...]

    @property
    def status(self) -> str:
        """The report's status, but `stopped` or `degraded` if only this class finds a problem."""
        is_closed = self.breaker.circuit.state is CircuitState.CLOSED
        if not self.problems or not self.report.is_healthy or not is_closed:
            return self.report.status
        return "stopped" if self.seen.is_stopped else "degraded"

    @property
    def lines(self) -> list[Line]:
        """The statement about the function app, its stop and its start."""
        return statement(self.seen)

    @property
    def problems(self) -> tuple[str, ...]:
        """One text for each problem; the app is not healthy while there is one."""
        found = [] if self.report.is_healthy else [*self.report.problems]
        circuit = self.breaker.circuit
        if circuit.state is not CircuitState.CLOSED:
            found.append(f"the circuit is {circuit.state}: {circuit.reason or 'no reason given'}")
        if self.seen.is_stopped:
            found.append("the app is stopped")
        # A Redis that takes no writes notes no poll.
        if self.registration is not None and not self.registration.alive and not circuit.problem:
            found.append("no instance of the app polls its circuit")
        if self.registration is None and not circuit.degraded:
            found.append(NEVER_REGISTERED)
        if self.poison is None:
            found.append("the poison queue cannot be read")
        return (*found, *self.blob_problems, *self.instance_problems)

    @property
    def notes(self) -> tuple[str, ...]:
        """One text for each fact that an operator should know and that is no problem."""
        losses = self.report.problems if self.report.is_healthy else ()
        return (*losses, *self.report.warnings)


@asynccontextmanager
async def open_fleet(settings: Mapping[str, str]) -> AsyncIterator[FleetHealth]:
    """Read the health of the app that the settings name.

    Raises:
        SettingsError, breaker.SettingsError: a setting is missing, unknown or out of bounds.
        UnknownCircuitError: no instance has registered the circuit.
        StoreUnavailableError: Redis does not answer.
    """
    async with AsyncExitStack() as opened:
        circuits = await opened.enter_async_context(opened_circuits(settings))
        breaker, depending = circuits.app, circuits.dependencies
        wiring = Wiring(settings, opened, breaking=breaker.settings)
        wiring.read()
        if (await breaker.refresh()).degraded and not breaker.circuit.problem:
            await breaker.history(1)  # raises an error with the reason of the outage
            raise StoreUnavailableError("Redis was unreachable for a moment; run the command again")
        await depending.refresh()
        partitions = await wiring.partitions(
            breaker=breaker, dependencies=lambda: depending.circuits, lease_seconds=120.0
        )
        health = Health(
            breaker,
            await wiring.survey(breaker, lambda: depending.circuits),
            Watch(wiring.processing.stall_seconds),
            wiring.migration().running,
            dependencies=lambda: depending.circuits,
            redrives=wiring.redrive_runs().lines,
        )
        vitals = wiring.vitals()
        watch = SiteWatch(
            *(breaker, wiring.site(), vitals),
            now=time.time,
            how_to_start=RUN_START,
            held=held_by(settings),
        )
        await watch.read_state(attempts=2)
        yield FleetHealth(
            report=await health.report(),
            breaker=breaker,
            dependencies=depending.circuits,
            registration=await breaker.registration(),
            seen=await watch.look(),
            poison=await partitions.poison_count(),
            blob_problems=await _blob_problems(wiring),
            instance_problems=await _instance_problems(vitals),
        )


async def _blob_problems(wiring: Wiring) -> tuple[str, ...]:
    """Return why the host's leases and checkpoints, or the app's bodies, cannot be read."""
    checkpoints, claims = await wiring.checkpoints(), await wiring.claims()
    found = await asyncio.gather(
        *(checkpoints.owners(), claims.names(_NO_NAME)), return_exceptions=True
    )
    for each in found:
        if isinstance(each, BaseException) and not isinstance(each, StorageUnavailableError):
            raise each
    return tuple(str(each) for each in found if isinstance(each, BaseException))


async def _instance_problems(vitals: RedisVitalsReader) -> tuple[str, ...]:
    """Return what instances reported lately about themselves, such as a crash loop."""
    try:
        newest = int((await vitals.end()).partition("-")[0])
        entries = await vitals.behind(f"{max(0, newest - int(RECENT_SECONDS * 1000))}-0")
    except StorageUnavailableError as error:
        return (str(error),)
    latest = {each.instance: each.numbers.get("problem") for each in entries}
    return tuple(f"{name}: {text}" for name, text in sorted(latest.items()) if text)
