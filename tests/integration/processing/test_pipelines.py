"""The objects of several pipelines in one process: one that fails holds no other one."""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from types import ModuleType

import pytest

from breaker.configuration.pipelines import PipelineError, pipeline_of
from processing.bootstrap import Application
from processing.errors import HandlerLoadError, ShutdownError
from processing.event import Event, EventBatch
from processing.identity import Source
from processing.settings import ConnectionSettings
from tests.conftest import EventHubsEndpoint
from tests.support.processing.events import batch, event

NAMES = ("orders", "audit")
MODULE = "handlers_of_two_pipelines"


class Two:
    """An application with two pipelines, and their handlers' events."""

    def __init__(self, settings: dict[str, str]) -> None:
        self.handled: list[tuple[str, int]] = []
        self.module = ModuleType(MODULE)
        for name in NAMES:
            setattr(self.module, name, self._handler(name))
        sys.modules[MODULE] = self.module
        self.settings = settings
        self.application = Application(settings)
        self.application.check()

    def _handler(self, name: str) -> object:
        async def handle(each: Event) -> None:
            self.handled.append((name, each.sequence_number))

        return handle

    def batch(self, name: str, *numbers: int) -> EventBatch:
        settings = pipeline_of(self.settings, name).settings
        source = Source(ConnectionSettings.from_mapping(settings).identity, "0")
        return EventBatch(source, [event(number, "k", source=source) for number in numbers])


@pytest.fixture
async def two(redis_url: str, azurite: str, event_hubs: EventHubsEndpoint) -> AsyncIterator[Two]:
    name = secrets.token_hex(4)
    found = Two(
        {
            "REDIS_URL": redis_url,
            "AzureWebJobsStorage": azurite,
            "BREAKER_NAME": name,
            "EventHubConnection": event_hubs.connection_string,
            "EVENT_HUB_NAME": "events",
            "PIPELINES": ",".join(NAMES),
            "POISON_QUEUE": f"poison-{name}",
        }
        | {f"PIPELINE_{each.upper()}_EVENT_HUB_CONSUMER_GROUP": f"{each}-{name}" for each in NAMES}
        | {f"PIPELINE_{each.upper()}_EVENT_HANDLER": f"{MODULE}:{each}" for each in NAMES}
    )
    yield found
    await found.application.aclose()
    del sys.modules[MODULE]


async def test_failed_build_of_one_pipeline_holds_no_other(two: Two) -> None:
    """Its batches fail until the build succeeds, and the health names the reason."""
    handler = two.module.orders
    del two.module.orders
    for _ in range(2):
        with pytest.raises(HandlerLoadError, match="has no orders"):
            await two.application.process(two.batch("orders", 0))
        await two.application.process(two.batch("audit", 0))
    for work in (two.application.deliver_alerts, two.application.replay_deferred):
        with pytest.raises(HandlerLoadError, match="has no orders"):
            await work()
    report = (await two.application.health()).to_json()
    assert report["healthy"] is False
    assert report["pipelines"]["audit"]["circuit"]["state"] == "closed"
    (problem,) = report["pipelines"]["orders"]["problems"]
    assert "pipeline orders cannot be built: HandlerLoadError: EVENT_HANDLER" in problem

    two.module.orders = handler
    await two.application.process(two.batch("orders", 0))
    assert two.handled == [("audit", 0), ("orders", 0)]


@pytest.fixture
def own_sigterm() -> Iterator[None]:
    """Handle the signal, as the host of a process does."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("own_sigterm")
async def test_signal_stops_all_pipelines_also_one_that_is_built_later(two: Two) -> None:
    """Its first batch must not start events in a process that is about to end."""
    await two.application.process(two.batch("audit", 0))
    os.kill(os.getpid(), signal.SIGTERM)
    for name in ("audit", "orders"):
        with pytest.raises(ShutdownError):
            await two.application.process(two.batch(name, 1))
    assert two.handled == [("audit", 0)]


async def test_batch_of_no_pipeline_is_refused(two: Two) -> None:
    """Its progress would be that of a pipeline which does not exist."""
    with pytest.raises(PipelineError, match="pipeline default, but the app has orders, audit"):
        await two.application.process(batch([event(1)]))
