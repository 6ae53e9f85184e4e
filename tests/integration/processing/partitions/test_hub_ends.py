"""The lag while a real hub loses events, is recreated and grows, with real Redis and storage."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore
from local.event_hubs import EventHubsServer, HubConfig
from processing.__main__ import main
from processing.identity import Source
from processing.monitoring.reasons import Why
from processing.monitoring.survey import Sighting, Survey
from processing.partitions.checkpoints import Checkpoint
from processing.partitions.lag import PartitionLag
from processing.progress.store import Mark
from processing.wiring import Wiring
from tests.support.event_hubs.client_helpers import HUB, Clock, append, hub


class App:
    """An app that handles no event by itself; the test writes its progress."""

    def __init__(
        self,
        settings: dict[str, str],
        wiring: Wiring,
        survey: Survey,
        hub: EventHubsServer,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self.wiring = wiring
        self.survey = survey
        self.hub = hub
        self.clock = clock
        self.source = Source(wiring.connections.identity, "0")

    async def look(self) -> tuple[Sighting, PartitionLag]:
        """Return the survey's result, and the lag of partition 0."""
        sighting = await self.survey.look()
        return sighting, sighting.partitions[0]

    async def handle(self, number: int) -> None:
        """Note that the events up to a sequence number are handled."""
        enqueued_ms = int(self.clock.now * 1000)
        await self.wiring.progress().note_created(
            self.source, await (await self.wiring.hub_created()).latest()
        )
        await self.wiring.progress().commit(self.source, 0, Mark(number, enqueued_ms), [])

    def expire_all(self) -> None:
        """Let the hub's retention remove all its events."""
        self.clock.now += 20
        self.hub.namespace.hub(HUB).retain(10)


@pytest.fixture
async def app(redis_url: str, azurite: str) -> AsyncIterator[App]:
    clock = Clock()
    clock.now = time.time()  # the storage stamps the checkpoints by its own clock
    async with (
        AsyncExitStack() as opened,
        EventHubsServer(hub(1), control_port=0, now=clock) as server,
    ):
        settings = {
            "REDIS_URL": redis_url,
            "AzureWebJobsStorage": azurite,
            "EventHubConnection": server.connection_string,
            "EVENT_HUB_NAME": HUB,
        }
        wiring = Wiring(settings, opened)
        rules = BreakerSettings()
        breaker = await opened.enter_async_context(
            CircuitBreaker(MemoryCircuitStore(rules.name), rules)
        )
        yield App(settings, wiring, await wiring.survey(breaker, dict), server, clock)


async def test_events_that_expire_unhandled_are_counted_while_the_hub_is_empty(app: App) -> None:
    """Without a new event no batch comes, and only the survey can see the loss (H32)."""
    append(app.hub, [b"e"] * 2)
    await app.handle(1)
    append(app.hub, [b"e"] * 50)
    app.expire_all()
    sighting, lag = await app.look()
    assert (lag.lag, lag.last_enqueued, lag.expired) == (0, None, 50)
    assert "50 events expired unhandled" in sighting.losses[0]
    append(app.hub, [b"e"] * 5)
    _, lag = await app.look()
    assert (lag.lag, lag.expired) == (5, 50)


async def test_stopped_app_counts_events_beyond_its_checkpoint(app: App) -> None:
    """After a long stop the progress has expired, and the checkpoint remains."""
    append(app.hub, [b"e"] * 30)
    await (await app.wiring.checkpoints()).write("0", Checkpoint(9, "9"))
    app.expire_all()
    append(app.hub, [b"e"] * 5)
    _, lag = await app.look()
    assert (lag.watermark, lag.lag, lag.expired) == (None, 5, 20)


async def test_recreated_hub_is_named_at_each_size(app: App) -> None:
    """The new hub is empty, then smaller, then larger than the earlier one (H31)."""
    append(app.hub, [b"e"] * 100)
    await app.handle(99)
    sighting, lag = await app.look()
    assert (lag.recreated, lag.lag, sighting.changes) == (False, 0, ())
    app.clock.now += 5
    app.hub.namespace.create(HubConfig(HUB, 1))
    for behind in (0, 40, 120):
        append(app.hub, [b"e"] * (behind - lag.lag))
        sighting, lag = await app.look()
        assert (lag.recreated, lag.lag, lag.expired) == (True, behind, 0)
        assert [each.why for each in sighting.states] == [Why.RECREATED]
        assert len(sighting.changes) == 1


async def test_grown_hub_is_noticed_once(app: App) -> None:
    """The identity is that of the same hub, so the app's history begins with the earlier number."""
    assert (await app.look())[0].warnings == ()
    app.hub.namespace.hub(HUB).grow(2)
    for _ in range(2):
        sighting, _ = await app.look()
        assert sighting.warnings[0].startswith("the hub has 2 partitions and had 1 until ")
        assert [(each.before, each.after) for each in sighting.changes] == [(1, 2)]


async def test_command_lists_the_partitions(app: App, capsys: pytest.CaptureFixture[str]) -> None:
    """An operator without a console sees lag, expired events and the recreated hub."""
    append(app.hub, [b"e"] * 2)
    await app.handle(1)
    append(app.hub, [b"e"] * 50)
    app.expire_all()
    assert await list_partitions(app) == 0
    heading, row, note = capsys.readouterr().out.splitlines()
    assert heading.split()[:2] == ["partition", "watermark"]
    assert row.split() == ["0", "1", "-", "0", "0", "0", "50"]
    assert note.startswith("Partition 0 of events: 50 events expired unhandled")
    app.hub.namespace.create(HubConfig(HUB, 1))
    assert await list_partitions(app, "--json") == 1
    assert json.loads(capsys.readouterr().out)["recreated"] is True
    assert await list_partitions(app) == 1
    *_, note = capsys.readouterr().out.splitlines()
    assert "breakwater rewind --partition 0 --to-start" in note


async def list_partitions(app: App, *options: str) -> int:
    """Run the command `partitions` and return its exit code."""
    with TemporaryDirectory() as directory:
        file = Path(directory) / "settings.json"
        file.write_text(json.dumps({"Values": dict(app.settings)}))
        return await asyncio.to_thread(main, ["partitions", *options, "--settings", str(file)])
