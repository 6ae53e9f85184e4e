"""The objects of several pipelines in one process: one that fails holds no other one."""

from __future__ import annotations

import os
import re
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from types import ModuleType

import pytest

from breaker.configuration.pipelines import PipelineError, pipeline_of
from processing.bootstrap import Application
from processing.errors import (
    HandlerLoadError,
    PipelineRenamedError,
    PoisonEventError,
    ShutdownError,
)
from processing.event import Event, EventBatch
from processing.identity import Source
from processing.migration.pipeline_names import PipelineNames
from processing.partitions.checkpoints import Checkpoint
from processing.partitions.positions import HubPositions
from processing.settings import ConnectionSettings
from processing.wiring import Wiring
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
            if each.key == "bad":
                raise PoisonEventError("bad")
            self.handled.append((name, each.sequence_number))

        return handle

    def batch(self, name: str, *numbers: int, key: str = "k") -> EventBatch:
        settings = pipeline_of(self.settings, name).settings
        source = Source(ConnectionSettings.from_mapping(settings).identity, "0")
        return EventBatch(source, [event(number, key, source=source) for number in numbers])


@pytest.fixture
def settings(redis_url: str, azurite: str, event_hubs: EventHubsEndpoint) -> dict[str, str]:
    name = secrets.token_hex(4)
    return (
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


@pytest.fixture
async def two(settings: dict[str, str]) -> AsyncIterator[Two]:
    found = Two(settings)
    yield found
    await found.application.aclose()


@pytest.fixture(autouse=True)
def _no_module() -> Iterator[None]:
    yield
    sys.modules.pop(MODULE, None)


async def test_failed_build_of_one_pipeline_holds_no_other(two: Two) -> None:
    """Its batches fail until the build succeeds, and the health names the reason."""
    handler = vars(two.module).pop("orders")
    for _ in range(2):
        with pytest.raises(HandlerLoadError, match="has no 'orders'"):
            await two.application.process(two.batch("orders", 0))
        await two.application.process(two.batch("audit", 0))
    for work in (two.application.deliver_alerts, two.application.replay_deferred):
        with pytest.raises(HandlerLoadError, match="has no 'orders'"):
            await work()
    report = (await two.application.health()).to_json()
    assert report["healthy"] is False
    assert report["pipelines"]["audit"]["circuit"]["state"] == "closed"
    (problem,) = report["pipelines"]["orders"]["problems"]
    assert "pipeline orders gives no report: HandlerLoadError: " in problem
    assert f"PIPELINE_ORDERS_EVENT_HANDLER '{MODULE}:orders': " in problem

    vars(two.module)["orders"] = handler
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


def only_orders(settings: dict[str, str]) -> dict[str, str]:
    """Return the settings without those of the pipeline `audit`."""
    return {name: value for name, value in settings.items() if "AUDIT" not in name} | {
        "PIPELINES": "orders"
    }


async def finish(settings: dict[str, str], *numbers: int, key: str = "k") -> None:
    """Handle events in a process of its own."""
    two = Two(settings)
    try:
        (name,) = [each.name for each in two.application.pipelines if each.name != "audit"]
        await two.application.process(two.batch(name, *numbers, key=key))
    finally:
        await two.application.aclose()


async def check(settings: Mapping[str, str], checkpoint: int | None) -> None:
    """Check the names as a pipeline that starts while the host's checkpoint is this one."""

    async def read(_partition: str) -> Checkpoint | None:
        return None if checkpoint is None else Checkpoint(checkpoint, "")

    async with AsyncExitStack() as opened:
        wiring = Wiring(pipeline_of(settings).settings, opened)
        positions = HubPositions(await wiring.hub())
        await PipelineNames(
            wiring.redis,
            wiring.connections.identity,
            progress=wiring.progress(),
            partitions=positions.partitions,
            checkpoint=read,
        ).check()


@pytest.mark.parametrize(
    ("before", "after", "remedy"),
    [
        ("", "orders,audit", "remove PIPELINES, or declare default in it for this hub"),
        ("orders,audit", "", "declare orders in PIPELINES for this hub"),
    ],
)
async def test_renamed_pipeline_starts_no_batch_while_data_wait_under_its_old_name(
    settings: dict[str, str], before: str, after: str, remedy: str
) -> None:
    """The other way round, too. What waits, and what to do, is in the error and in the health."""
    plain = {"EVENT_HUB_CONSUMER_GROUP": "$Default", "EVENT_HANDLER": f"{MODULE}:orders"}
    audit = {name: value for name, value in settings.items() if name.startswith("PIPELINE_AUDIT")}
    common = {name: value for name, value in settings.items() if "PIPELINE" not in name} | plain
    declared = {"PIPELINES": "orders,audit"} | audit
    old, new = (common | (declared if names else {}) for names in (before, after))
    await finish(old, 0)  # no host writes a checkpoint here, so the progress waits

    two = Two(new)
    name = two.application.pipelines[0].name
    for _ in range(2):
        with pytest.raises(PipelineRenamedError, match=re.escape(remedy)):
            await two.application.process(two.batch(name, 0))
    report = (await two.application.health()).to_json()
    mine = report["pipelines"][name] if after else report
    assert any(remedy in each for each in mine["problems"])
    if after:  # the other pipeline has a group of its own
        await two.application.process(two.batch("audit", 0))
        assert two.handled == [("audit", 0)]
    await two.application.aclose()
    assert not [each for each in two.handled if each[0] == "orders"]
    await finish(old, 0)  # the former name still works


async def test_pipeline_may_be_renamed_when_nothing_waits(settings: dict[str, str]) -> None:
    """The checkpoint belongs to the group, so events below it need no progress of any name."""
    old = only_orders(settings) | {"PROCESSING_POISON_ORDERING": "park"}
    new = {name.replace("ORDERS", "BILLS"): value for name, value in old.items()}
    new["PIPELINES"] = "bills"

    await check(new, -1)
    await finish(old, 0, 1)
    with pytest.raises(PipelineRenamedError, match="wait in partition 0;"):
        await check(new, 0)
    await check(new, 1)
    await finish(old, 2, 3, key="bad")
    with pytest.raises(PipelineRenamedError, match="declare orders in PIPELINES"):
        await check(new, 3)


@pytest.mark.parametrize("checkpoint", [0, None])
async def test_renamed_pipeline_starts_after_a_rewind(
    settings: dict[str, str], checkpoint: int | None
) -> None:
    """A rewind puts the checkpoint before what the former pipeline has finished; a new hub, too."""
    old = only_orders(settings)
    new = {name.replace("ORDERS", "BILLS"): value for name, value in old.items()}
    new["PIPELINES"] = "bills"
    await finish(old, 0, 1)
    await check(new, 1)
    await check(new, checkpoint)
    await finish(old, 2)  # the former name reads again
    with pytest.raises(PipelineRenamedError, match="declare orders in PIPELINES"):
        await check(new, 1)
