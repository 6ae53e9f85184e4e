"""`parked poison-head` and `parked drop-mark` on a real hub, real Redis and real blobs."""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from processing.event import Event, event_id
from processing.identity import Source
from processing.parking.batch import Parking
from processing.parking.deferral import Deferral, DeferralReason
from processing.parking.event import ParkedEvent, position_of
from processing.parking.store import Claim
from processing.partitions.positions import HubPositions
from processing.progress.store import Mark
from processing.wiring import Wiring
from tests.conftest import EventHubsEndpoint
from tests.support.forked import run_module_async
from tests.support.local.event_hubs_trigger import event_hubs_trigger
from tests.support.local.functions_host import clean_environment

EVENTS = 5


@dataclass
class Site:
    """A hub with events, and the parts of an app that reads the hub."""

    wiring: Wiring
    parking: Parking
    settings_file: Path
    source: Source

    async def run(self, *arguments: str) -> CompletedProcess[str]:
        """Run `parked` with these arguments."""
        return await self.command("parked", *arguments)

    async def command(self, *arguments: str) -> CompletedProcess[str]:
        """Run a command of `python -m processing`."""
        return await run_module_async(
            *("processing", *arguments, "--settings", str(self.settings_file)),
            environment=clean_environment(),
        )

    async def defer(self, claim: Claim, event: Event) -> None:
        """Defer an event as its partition's owner does, with a mark."""
        assert self.parking.marks is not None
        writing = await self.parking.marks.writing_as(self.source, claim, event)
        await self.parking.store.defer(
            *(writing, self.source, event.key, (position_of(event), ParkedEvent(event).to_json())),
            deferral=Deferral(DeferralReason.DEPENDENCY),
            pause_seconds=600.0,
        )

    def event(self, number: int) -> Event:
        """Return an event of the partition."""
        return Event(b"{}", "k", {}, self.source, number, str(number), 1_700_000_000_000 + number)


@pytest.fixture
async def site(
    redis_url: str, azurite: str, event_hubs: EventHubsEndpoint, tmp_path: Path
) -> AsyncIterator[Site]:
    with event_hubs_trigger(event_hubs, azurite, tmp_path, partitions=2) as trigger:
        trigger.send(*(f"{number}" for number in range(EVENTS)))
        values = {
            "AzureWebJobsStorage": azurite,
            "EventHubConnection": event_hubs.connection_string,
            "EVENT_HUB_NAME": trigger.hub,
            "POISON_QUEUE": f"poison-{secrets.token_hex(4)}",
            "REDIS_URL": redis_url,
        }
        file = tmp_path / "settings.json"
        file.write_text(json.dumps({"IsEncrypted": False, "Values": values}))
        async with AsyncExitStack() as opened:
            wiring = Wiring(values, opened)
            source = Source(wiring.connections.identity, "0")
            yield Site(wiring, await wiring.parking(), file, source)


@pytest.mark.long
async def test_first_unfinished_event_is_named_to_its_owner(site: Site) -> None:
    """Without a terminal the command needs --yes, and changes nothing without it."""
    positions = HubPositions(await site.wiring.hub())
    marks = [
        Mark(found.sequence_number, found.enqueued_ms)
        for found in [await positions.find("0", number) for number in range(EVENTS)]
    ]
    head = event_id(site.source, 3, marks[3].enqueued_ms)
    claim = await site.parking.claim(site.source)
    await site.wiring.progress().commit(site.source, claim.owner, marks[1], [marks[2]])

    asked = await site.run("poison-head", "0")
    assert (asked.returncode, head in asked.stdout) == (2, True), asked.stderr
    assert "--yes confirms" in asked.stderr
    assert (await site.parking.claim(site.source)).poison_head == ""
    done = await site.run("poison-head", "0", "--yes", "--by", "ann")
    assert done.returncode == 0, done.stderr
    assert f"Event {head}" in done.stderr
    assert "ann decided to poison the event" in done.stderr
    claim = await site.parking.claim(site.source)
    assert claim.poison_head == head

    await site.wiring.progress().commit(site.source, claim.owner, marks[4], [])
    for partition, says in (("0", "every event in the hub is finished"), ("7", "it has 0, 1")):
        refused = await site.run("poison-head", partition, "--yes")
        assert (refused.returncode, says in refused.stderr) == (1, True), refused.stderr
        assert "Traceback" not in refused.stderr


async def test_list_names_the_keys_that_wait_since_before_the_hub_grew(site: Site) -> None:
    """The plan of a redrive names them, and neither names a key that waits since then."""
    changes = site.wiring.hub_changes()
    await changes.observe(1, 2)
    claim = await site.parking.claim(site.source)
    await site.defer(claim, site.event(3))
    later = replace(site.event(4), key="later", enqueued_ms=33_000_000_000_000)
    await site.defer(claim, later)
    await changes.observe(1, 4)
    for command in (("parked", "list", "--json"), ("redrive", "--dry-run")):
        done = await site.command(*command)
        assert done.returncode == 0, done.stderr
        assert "the hub has 4 partitions and had 2 until" in done.stderr
        assert "1 key waits since before the change ('k' in partition 0); redrive" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert "later" in done.stdout


async def test_list_continues_at_the_place_that_an_earlier_list_has_named(site: Site) -> None:
    """A list of many keys is printed page by page, and may be limited."""
    claim = await site.parking.claim(site.source)
    for number, key in enumerate(["a", "it's b", "c"]):
        await site.defer(claim, replace(site.event(number), key=key))
    first = await site.run("list", "--json", "--limit", "2")
    assert [json.loads(line)["key"] for line in first.stdout.splitlines()] == ["a", "it's b"]
    assert "2 of 3 keys are shown; continue with --after " in first.stderr
    (after,) = shlex.split(first.stderr.partition("--after ")[2])
    rest = await site.run("list", "--after", after)
    assert (rest.returncode, "'c'" in rest.stdout, "'a'" in rest.stdout) == (0, True, False)
    assert rest.stderr == ""
    refused = await site.run("list", "--after", "x")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "'x' is no place in the list of parked keys" in refused.stderr
    refused = await site.run("list", "--limit", "0")
    assert refused.returncode == 2
    assert "'0' is not a whole number from 1 on" in refused.stderr


async def test_mark_of_lost_events_is_dropped_on_record(site: Site) -> None:
    """The command is refused while Redis has the events, and after the mark is dropped."""
    why = ("--reason", "the source sends them again", "--by", "ann")
    refused = await site.run("drop-mark", "0", *why)
    assert (refused.returncode, "has no mark" in refused.stderr) == (1, True), refused.stderr
    await site.defer(await site.parking.claim(site.source), site.event(3))
    refused = await site.run("drop-mark", "0", *why)
    assert refused.returncode == 1
    assert "no parked event is lost" in refused.stderr
    missing = await site.run("drop-mark", "0")
    assert (missing.returncode, "--reason" in missing.stderr) == (2, True)

    await site.wiring.redis.flushall()
    done = await site.run("drop-mark", "0", *why)
    assert done.returncode == 0, done.stderr
    assert "ann gave up the lost events from event 3 " in done.stderr
    assert "the source sends them again" in done.stderr
    container = await site.wiring.container(site.wiring.connections.poison_queue)
    (record,) = [
        blob async for blob in container.list_blob_names(name_starts_with="marks/dropped/")
    ]
    found = json.loads(await (await container.download_blob(record)).readall())
    assert (found["by"], found["reason"]) == ("ann", why[1])
    await site.parking.claim(site.source)
