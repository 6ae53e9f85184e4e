"""Parking and `python -m processing` on real Redis and Azurite, with real processes."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from azure.storage.blob.aio import ContainerClient
from redis.asyncio import Redis

from local.services.child import REPOSITORY
from processing.batch.result import BatchResult
from processing.event import Event, EventBatch
from processing.identity import Identity, Source
from processing.operations import open_parking
from processing.parking.deferral import Deferral, DeferralReason
from processing.parking.event import Lone, ParkedEvent, position_of
from processing.parking.store import ParkingStore, WritingAs
from processing.parts import Parts
from tests.support.forked import run_module_async
from tests.support.local.functions_host import clean_environment
from tests.support.patience import STORE_SECONDS

KEY = "K"

type Sent = tuple[str, dict[str, Any]]
"""An event's key and properties."""


@dataclass
class Site:
    """The app's parts in this process, and the operator's command line."""

    parts: Parts
    redis: Any
    run: str
    settings_file: Path
    storage: str
    store: ParkingStore
    next: int = 0

    @property
    def source(self) -> Source:
        """The partition of all events."""
        return Source(Identity("127.0.0.1", "events", f"group-{self.run}"), "0")

    def event(self, key: str | None, properties: dict[str, Any], body: bytes = b"{}") -> Event:
        """Return the partition's next event."""
        number, self.next = self.next, self.next + 1
        return Event(
            body=body,
            key=key,
            properties={"run": self.run, **properties},
            source=self.source,
            sequence_number=number,
            offset=str(number),
            enqueued_ms=1_700_000_000_000 + number,
        )

    async def process(
        self, *events: tuple[str, dict[str, Any]], body: bytes = b"{}"
    ) -> BatchResult:
        """Process a batch of events with these keys and properties."""
        batch = [self.event(key, properties, body) for key, properties in events]
        return await self.parts.processor.process(EventBatch(self.source, batch))

    async def ledger(self, key: str) -> list[int]:
        lines = await self.redis.lrange(f"ledger:{{{self.run}}}:key:{key}", 0, -1)
        return [int(line.split()[0]) for line in lines]

    async def repair(self) -> None:
        await self.redis.set(f"repaired:{self.run}", "1", ex=600)

    async def release(self) -> None:
        """Let the handler finish the events that it holds."""
        await self.redis.set(f"released:{self.run}", "1", ex=600)

    async def start(self, *arguments: str) -> Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "processing", *arguments),
            *("--settings", str(self.settings_file)),
            cwd=REPOSITORY,
            env=clean_environment(),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
        )

    async def cli(self, *arguments: str, code: int = 0) -> str:
        """Run the command line to its end, and return its output."""
        ended = await self.run_to_its_end(*arguments)
        assert ended.returncode == code, f"{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    async def run_to_its_end(self, *arguments: str) -> CompletedProcess[str]:
        return await run_module_async(
            "processing",
            *arguments,
            *("--settings", str(self.settings_file)),
            environment=clean_environment(),
        )


@pytest.fixture
async def site(
    stack: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Site]:
    run = secrets.token_hex(4)
    values = _values(stack) | {
        "EVENT_HUB_CONSUMER_GROUP": f"group-{run}",
        "POISON_QUEUE": f"poison-{run}",
        "EVENT_HANDLER": "tests.support.handlers.repairable:RepairableLedger",
        "PROCESSING_POISON_ORDERING": "park",
        "PROCESSING_MAX_ATTEMPTS": "1",
        "BREAKER_NAME": f"c{run}",
        "BREAKER_COUNT_POISON": "false",
        "BREAKER_STORE_TIMEOUT_SECONDS": f"{STORE_SECONDS}",
    }
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"IsEncrypted": False, "Values": values}))
    parts = await Parts.build(values)
    async with (
        Redis.from_url(values["REDIS_URL"], decode_responses=True) as client,
        open_parking(values) as lists,
    ):
        yield Site(parts, client, run, file, values["BreakwaterStorage"], lists.store)
        parts.processor.stop()
        await parts.closing.aclose()


def _values(stack: dict[str, Any]) -> dict[str, str]:
    values: dict[str, str] = json.loads(Path(stack["settings_file"]).read_text())["Values"]
    return values


@pytest.mark.parametrize("events", [100, pytest.param(1000, marks=pytest.mark.long)])
async def test_parked_key_stays_in_order_during_redrives(site: Site, events: int) -> None:
    """The ledger of key K has 1 to `events` in order, each once, and another key never waits.

    Key K is poisoned at 10. Its later events arrive before, during and after the redrives, of which
    two run at the same time.
    """
    counter = 0

    async def arrive(count: int = 10) -> None:
        nonlocal counter
        sent: list[Sent] = []
        for _ in range(count):
            counter += 1
            more = {10: {"broken": True}, 12: {"held": True}}.get(counter, {})
            sent.append((KEY, {"counter": counter, "pause_ms": 1, **more}))
            sent.append(("other", {"counter": counter}))
        await site.process(*sent)
        assert len(await site.ledger("other")) == counter, "another key waited"

    await arrive(15)  # five events follow the poisoned event in its own batch
    parked_already = events * 2 // 5
    while counter < parked_already:
        await arrive(5)
    assert await site.ledger(KEY) == list(range(1, 10))
    (parked,) = (await site.cli("parked", "list", "--json")).splitlines()
    found = json.loads(parked)
    assert (found["key"], found["entries"]) == (KEY, counter - 9)
    assert found["error"] == "PoisonEventError: broken until it is repaired"

    await site.cli("redrive", "--json", code=1)
    (message,) = map(json.loads, (await site.cli("poison", "list", "--json")).splitlines())
    assert (message["redrives"], message["parked"], message["sequence_number"]) == (1, True, 18)

    await site.repair()
    redrives = [await site.start("redrive", "--json", "--key", KEY) for _ in range(2)]
    ended = asyncio.gather(*(process.communicate() for process in redrives))
    while await site.ledger(KEY) != list(range(1, 12)):  # the replay waits for the held event
        assert not ended.done()
        await asyncio.sleep(0.02)
    await arrive(5)
    await site.release()
    while counter < events * 9 // 10 and not ended.done():
        await arrive(5)
        await asyncio.sleep(0.1)  # slower than the replay, so that it catches up with the arrivals
    summaries = [json.loads(out) for out, _ in await ended]
    while counter < events:
        await arrive(min(10, events - counter))

    assert await site.ledger(KEY) == list(range(1, events + 1))
    assert await site.ledger("other") == list(range(1, events + 1))
    assert await site.redis.get(f"ledger:{{{site.run}}}:suppressed") is None, "handled twice"
    assert sum(summary["released"] for summary in summaries) == 1
    assert "No parked keys" in await site.cli("parked", "list")
    await site.cli("redrive")  # removes the message, which is stale if the other redrive held it
    assert "No poison messages" in await site.cli("poison", "list")


async def test_large_body_is_shown_and_redriven_unchanged(site: Site, tmp_path: Path) -> None:
    """The body comes from the message's claim check, and a redrive removes the message."""
    body = secrets.token_bytes(1024 * 1024)
    broken: dict[str, Any] = {"counter": 1, "broken": True}
    await site.process(("big", broken), body=body)
    await site.process(("big", {"counter": 2}), body=body)
    file = tmp_path / "body.bin"
    shown = json.loads(await site.cli("poison", "show", "0/0/1700000000000", "--body", str(file)))
    assert file.read_bytes() == body
    assert (shown["key"], shown["properties"]["counter"]) == ("big", 1)
    whole = json.loads(await site.cli("poison", "show", shown["id"]))
    assert base64.b64decode(whole["body"]) == body
    assert "no poison message with the id" in (await _error(site, "poison", "show", "nothing"))
    plan = json.loads(await site.cli("redrive", "--dry-run", "--json"))
    assert (plan["events"], plan["messages"]) == (2, [shown["id"]])
    await site.repair()
    await site.cli("redrive", "--id", shown["id"])
    assert await site.ledger("big") == [1, 2]
    assert "No poison messages" in await site.cli("poison", "list")


async def test_discard_records_a_poisoned_event_and_releases_its_key(site: Site) -> None:
    """A second discard of the event finds no message."""
    broken: dict[str, Any] = {"counter": 2, "broken": True}
    await site.process((KEY, {"counter": 1}), (KEY, broken), (KEY, {"counter": 3}))
    assert "--reason" in await _error(site, "poison", "discard", "0/1/1700000000001", code=2)
    why = ("--by", "ann", "--reason", "sent by mistake")
    said = await site.cli("poison", "discard", "0/1/1700000000001", *why)
    assert "events behind it replayed: 1" in said
    assert await site.ledger(KEY) == [1, 3]
    assert "No poison messages" in await site.cli("poison", "list")
    assert "No parked keys" in await site.cli("parked", "list")
    again = await _error(site, "poison", "discard", "0/1/1700000000001", *why)
    assert "no poison message with the id" in again


async def test_lost_body_is_listed_and_can_be_discarded(site: Site, tmp_path: Path) -> None:
    """The body's blob is deleted, and a redrive keeps the event until it is discarded."""
    broken: dict[str, Any] = {"counter": 2, "broken": True}
    await site.process((KEY, {"counter": 1}), (KEY, broken), body=bytes(100_000))
    await site.process((KEY, {"counter": 3}))
    place = "0/1/1700000000001"
    (found,) = map(json.loads, (await site.cli("poison", "list", "--json")).splitlines())
    assert found["body_state"] == "blob"
    container = f"poison-{site.run}"
    async with ContainerClient.from_connection_string(site.storage, container) as blobs:
        await blobs.delete_blob(found["claim_check"]["blob"])
    (found,) = map(json.loads, (await site.cli("poison", "list", "--json")).splitlines())
    assert found["body_state"] == "lost"
    file = tmp_path / "body.bin"
    shown = json.loads(await site.cli("poison", "show", place, "--body", str(file), code=1))
    assert (shown["id"], shown["body"], shown["body_state"]) == (found["id"], None, "lost")
    assert not file.exists()
    await site.repair()
    said = await site.cli("redrive", code=1)
    assert "BodyLostError" in said
    assert "Body lost: 1 event cannot be replayed; restore the blob" in said
    assert await site.ledger(KEY) == [1]
    said = await site.cli("poison", "discard", place, "--reason", "its blob is gone")
    assert "The record of the event has no body, because the body was lost" in said
    assert await site.ledger(KEY) == [1, 3]
    assert "No poison messages" in await site.cli("poison", "list")
    assert "No parked keys" in await site.cli("parked", "list")


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
async def test_interrupted_redrive_finishes_the_event_in_flight(
    site: Site, number: signal.Signals
) -> None:
    """Ctrl-C and SIGTERM keep the remaining events for the next redrive."""
    events: list[Sent] = [
        (KEY, {"counter": 1, "broken": True}),
        *((KEY, {"counter": counter, "held": True}) for counter in range(2, 6)),
    ]
    await site.process(*events)
    await site.repair()
    process = await site.start("redrive", "--json")
    while not await site.ledger(KEY):
        await asyncio.sleep(0.02)
    os.kill(process.pid, number)
    await site.release()  # after the signal, so that the process gets the signal first
    out, err = await process.communicate()
    assert process.returncode == 130, err.decode()
    summary = json.loads(out)
    done = await site.ledger(KEY)
    assert done == list(range(1, summary["replayed"] + 1))
    assert summary["left"] == 5 - summary["replayed"] > 0
    await site.cli("redrive")
    assert await site.ledger(KEY) == [1, 2, 3, 4, 5]
    assert await site.redis.get(f"ledger:{{{site.run}}}:suppressed") is None


async def test_open_circuit_stops_a_redrive(site: Site) -> None:
    """The output names the open circuit as the reason."""
    await site.process((KEY, {"counter": 1, "broken": True}))
    await site.parts.breaker.isolate("op", "test")
    await site.repair()
    assert "circuit is not closed" in await site.cli("redrive", code=1)
    await site.parts.breaker.close_circuit(site.parts.breaker.circuit.generation, "op")
    await site.cli("redrive")
    assert await site.ledger(KEY) == [1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("redrive", "--key", "a", "--all"), "give at most one of --key, --id, --all"),
        (("rewind", "--partition", "0"), "--to"),
        (("rewind", "--all", "--to", "5"), "--all takes --to-start"),
        (("rewind", "--partition", "0", "--to", "-5"), "'-5' is not a whole number from 0 on"),
    ],
)
async def test_invalid_arguments_are_refused(
    site: Site, arguments: tuple[str, ...], says: str
) -> None:
    """The error names the argument or the form that it takes."""
    assert says in await _error(site, *arguments, code=2)


async def test_invalid_settings_file_is_refused(site: Site) -> None:
    """The error names the file that cannot be read, or the missing setting."""
    site.settings_file.write_text('{"Values": {"EVENT_HUB_NAME": "events"}}')
    assert "AzureWebJobsStorage is missing" in await _error(site, "poison", "list", code=2)
    site.settings_file.unlink()
    assert "cannot be read" in await _error(site, "redrive", code=2)


async def _error(site: Site, *arguments: str, code: int = 1) -> str:
    ended = await site.run_to_its_end(*arguments)
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


async def defer(site: Site, key: str | None, *counters: int) -> list[Event]:
    """Defer events as their partition's owner does; an event without a key is deferred alone."""
    events = [site.event(key, {"counter": counter}) for counter in counters]
    writing = WritingAs((await site.store.claim(site.source)).owner, "")
    first, *behind = [(position_of(each), ParkedEvent(each).to_json()) for each in events]
    name = Lone(first[0]) if key is None else key
    deferral = Deferral(
        DeferralReason.DEPENDENCY, dependency="bank", error="ConnectError: no route", attempts=4
    )
    await site.store.defer(
        *(writing, site.source, name, first), deferral=deferral, pause_seconds=3_600
    )
    if behind:
        await site.store.park(writing, site.source, name, behind)
    return events


async def test_deferred_keys_are_listed_and_redriven_by_name(site: Site) -> None:
    """A redrive of everything leaves them alone; the list shows why each key waits."""
    await site.process(("poisoned", {"counter": 1, "broken": True}), ("poisoned", {"counter": 2}))
    await defer(site, KEY, 1, 2, 3)
    (lone,) = await defer(site, None, 9)
    text = await site.cli("parked", "list")
    for part in ("deferred", "parked", "bank", "no route", "waits for an operator", "in 59 min"):
        assert part in text
    found = {
        each["key"]: each
        for each in map(json.loads, (await site.cli("parked", "list", "--json")).splitlines())
    }
    key = found[KEY]
    assert (key["state"], key["reason"], key["dependency"]) == ("deferred", "dependency", "bank")
    assert (key["attempts"], key["entries"], key["behind"]) == (4, 3, 2)
    assert 3_500 < key["next_try_seconds"] <= 3_600
    assert (found["poisoned"]["state"], found["poisoned"]["next_try"]) == ("parked", None)
    assert found[None]["event"] == lone.id
    assert "No parked keys in partition 7" in await site.cli("parked", "list", "--partition", "7")

    await site.repair()
    plan = json.loads(await site.cli("redrive", "--dry-run", "--json"))
    assert (plan["events"], len(plan["parked"]), len(plan["left_alone"])) == (2, 1, 2)
    assert "Left alone: 2 deferred keys" in await site.cli("redrive")
    assert (await site.ledger("poisoned"), await site.ledger(KEY)) == ([1, 2], [])
    await site.cli("redrive", "--key", KEY)
    assert await site.ledger(KEY) == [1, 2, 3]
    await site.cli("redrive", "--id", lone.id)
    assert "No parked keys" in await site.cli("parked", "list")
