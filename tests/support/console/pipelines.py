"""A console of two pipelines, `orders` and `audit`, in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
from starlette.applications import Starlette

from breaker import (
    BreakerSettings,
    CircuitBreaker,
    DependencyCircuits,
    DependencySettings,
    MemoryCircuitStore,
    MemoryDependencyStore,
    Permit,
)
from console.app import create_console
from console.backplane.coordination import MemoryCoordination
from console.backplane.stream import MemoryBackplane
from console.pipelines.parts import PipelineParts
from console.settings import ConsoleSettings
from processing.site.client import Site
from processing.site.watch import SiteWatch
from tests.support.console.server import TOKEN


class Line:
    """One pipeline: its circuit, the circuits of its dependencies, its backplane."""

    def __init__(self, name: str, *, stops_app: bool = False, site: Site | None = None) -> None:
        settings = BreakerSettings(name=f"c-{name}", failure_threshold=1, stops_app=stops_app)
        self.name = name
        self.breaker = CircuitBreaker(MemoryCircuitStore(settings.name), settings)
        self.dependencies = DependencyCircuits(
            MemoryDependencyStore(settings.name), DependencySettings.from_mapping({}, settings)
        )
        self.coordination = MemoryCoordination()
        self.backplane = MemoryBackplane(self.coordination)
        self.watch = SiteWatch(self.breaker, site, None)

    @property
    def parts(self) -> PipelineParts:
        """The pipeline's parts of a console."""
        return PipelineParts(
            breaker=self.breaker,
            name=self.name,
            declared=True,
            dependencies=self.dependencies,
            coordination=self.coordination,
            backplane=self.backplane,
            watch=self.watch,
        )

    async def open(self) -> None:
        """Open the circuit."""
        await self.breaker.record_failure("a", "boom", Permit(self.breaker.circuit.generation))

    async def lines(self) -> list[str]:
        """Return the lines of the incident log, as JSON."""
        return [each.data for each in await self.backplane.latest(100) if each.kind == "log"]


@dataclass
class Lines:
    """Two pipelines and what they share."""

    orders: Line
    audit: Line
    shared: MemoryCoordination = field(default_factory=MemoryCoordination)

    @classmethod
    def of(cls, *, orders_stops_app: bool = False, site: Site | None = None) -> Lines:
        """Return the pipelines; neither circuit stops the app unless `orders` is to."""
        return cls(Line("orders", stops_app=orders_stops_app, site=site), Line("audit", site=site))

    def console(self, settings: ConsoleSettings | None = None) -> Starlette:
        """Return a console over both pipelines."""
        parts = [self.orders.parts, self.audit.parts]
        own = settings or ConsoleSettings(token=TOKEN)
        return create_console(parts, own, coordination=self.shared)

    @asynccontextmanager
    async def page(self) -> AsyncIterator[httpx.AsyncClient]:
        """Yield the client of ann's page, without the console's background tasks."""
        transport = httpx.ASGITransport(self.console())
        async with (
            self.orders.breaker,
            self.audit.breaker,
            self.orders.dependencies,
            self.audit.dependencies,
            httpx.AsyncClient(transport=transport, base_url="http://c") as client,
        ):
            answer = await client.post("/login", json={"token": TOKEN, "name": "ann"})
            assert answer.status_code == 204
            csrf = (await client.get("/api/session")).json()["csrf"]
            client.headers.update({"Origin": "http://c", "X-CSRF-Token": csrf})
            yield client
