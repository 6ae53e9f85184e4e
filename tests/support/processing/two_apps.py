"""Two apps on one Redis and one storage account, and what a tool of the first one changes."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob.aio import ContainerClient
from azure.storage.queue.aio import QueueClient
from redis.asyncio import Redis

from breaker.configuration.pipelines import pipelines_of
from processing.__main__ import main
from processing.errors import PoisonEventError
from processing.event import Event
from processing.handlers.retry import Failure, FailureKind
from processing.identity import Identity, Source
from processing.parking.deferral import Deferral, DeferralReason
from processing.parking.event import ParkedEvent, position_of
from processing.parking.marks import Oldest, ParkingMark
from processing.parking.store import WritingAs
from processing.partitions.checkpoints import CONTAINER
from processing.poison.message import PoisonMessage
from processing.wiring import Wiring
from tests.support.handlers.appending import handled_file

LARGE = b"x" * 60_000
"""A body that needs a claim check."""


@dataclass
class App:
    """One app, or one of its pipelines: its settings, and the data that it leaves for an operator.

    Attributes:
        settings: the settings of the app, or of the pipeline.
        settings_file: the settings of the app, in a file.
        wiring: builds the parts.
        chosen: the arguments that choose the pipeline.
    """

    settings: dict[str, str]
    settings_file: Path
    wiring: Wiring
    chosen: tuple[str, ...] = ()

    @property
    def identity(self) -> Identity:
        """The app's identity."""
        return self.wiring.connections.identity

    @property
    def checkpoints(self) -> str:
        """The container and the folder of the app's checkpoints."""
        connections = self.wiring.connections
        names = (connections.event_hub_name, connections.event_hub_consumer_group)
        return f"{CONTAINER}/{'/'.join((connections.namespace, *names))}/".lower()

    @property
    def source(self) -> Source:
        """The partition of all events."""
        return Source(self.identity, "0")

    @property
    def handled(self) -> list[str]:
        """The events that the app's handler has handled: `<key> <sequence number>`."""
        file = handled_file(self.settings)
        return file.read_text().splitlines() if file.exists() else []

    def event(self, key: str | None, number: int, body: bytes = b"{}") -> Event:
        """Return an event whose sequence number is `number`."""
        time = 1_700_000_000_000 + number
        return Event(body, key, {}, self.source, number, str(number), time)

    def message(self, event: Event) -> PoisonMessage:
        """Return the poison message of an event."""
        failure = Failure(FailureKind.POISON, PoisonEventError("bad"), 1, 0.0, 0.0)
        return PoisonMessage.from_failure(
            event, failure, handler="h", circuit_generation=0, instance="i"
        )

    async def poison(self, key: str | None, number: int, body: bytes = b"{}") -> PoisonMessage:
        """Put an event into the poison queue; its key continues without it."""
        message = self.message(self.event(key, number, body))
        await (await self.wiring.poison()).put(message)
        return message

    async def park(self, key: str, first: int, body: bytes = b"{}") -> PoisonMessage:
        """Park a key behind a poisoned event: one more event waits, with this body."""
        store, queue = self.wiring.parking_store(), await self.wiring.poison()
        message = replace(self.message(self.event(key, first)), parked=True)
        writing = WritingAs((await store.claim(self.source)).owner, "")
        place = (self.source, key)
        await store.poison(writing, *place, position_of(message), message.to_json())
        await queue.put(message)
        await store.announced(*place, position_of(message))
        behind = ParkedEvent(self.event(key, first + 1, body))
        if len(body) > 48 * 1024:
            claims = await self.wiring.claims()
            behind = behind.with_claim_check(await claims.put(behind))
        await store.park(writing, *place, [(position_of(behind.event), behind.to_json())])
        return message

    async def defer(self, key: str, number: int) -> None:
        """Defer a key with one event."""
        store = self.wiring.parking_store()
        writing = WritingAs((await store.claim(self.source)).owner, "")
        event = self.event(key, number)
        await store.defer(
            *(writing, self.source, key, (position_of(event), ParkedEvent(event).to_json())),
            deferral=Deferral(DeferralReason.DEPENDENCY),
            pause_seconds=3600.0,
        )

    async def lose_parked_events(self) -> None:
        """Write a mark whose token Redis does not have, as after a loss of Redis."""
        marks = await self.wiring.marks()
        await marks.write(ParkingMark(self.source, "token", Oldest(0, 1, "0"), 0), None)

    async def send(self, text: str | bytes) -> None:
        """Put a text into the poison queue as it is."""
        data = text.encode() if isinstance(text, str) else text
        await self.send_raw(base64.b64encode(data).decode())

    async def send_raw(self, text: str) -> None:
        """Put a text into the poison queue that need not be base64."""
        async with self.queue() as queue:
            await queue.send_message(text)

    def queue(self) -> QueueClient:
        """Return a client of the app's poison queue that neither encodes nor decodes."""
        return QueueClient.from_connection_string(
            self.settings["AzureWebJobsStorage"], self.settings["POISON_QUEUE"]
        )

    def of_version_1(self, key: str, number: int) -> str:
        """Return a message as version 0.1 wrote it: it names no namespace."""
        found: dict[str, Any] = json.loads(self.message(self.event(key, number)).to_json())
        for name in ("namespace", "hub", "consumer_group", "pipeline", "system_properties"):
            del found[name]
        del found["redrives"], found["parked"]
        names = (self.settings[f"EVENT_HUB_{name}"] for name in ("NAME", "CONSUMER_GROUP"))
        place = f"0/{number}/{1_700_000_000_000 + number}"
        return json.dumps(found | {"version": 1, "id": "/".join([*names, place])})

    async def run(self, *arguments: str) -> Ended:
        """Run `python -m processing` with the app's settings, in this process."""
        if self.chosen:
            return await run(*arguments, *self.chosen, settings=self.settings_file)
        file = self.settings_file.with_name(f"settings-{secrets.token_hex(4)}.json")
        file.write_text(json.dumps({"Values": dict(self.settings)}))
        return await run(*arguments, settings=file)


@dataclass(frozen=True)
class Ended:
    """The end of a command: its exit code and what it printed."""

    code: int
    out: str
    err: str


async def run(*arguments: str, settings: Path) -> Ended:
    """Run `python -m processing` with a settings file, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        # The command runs in an event loop of its own, as in a process.
        code = await asyncio.to_thread(main, [*arguments, "--settings", str(settings)])
    return Ended(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Snapshot:
    """Everything that is stored; `changes` compares two of them.

    Attributes:
        redis: the value of each key, as `DUMP` returns it.
        messages: the visible messages of the queues, by queue and message id.
        blobs: ETag of each blob, by container and name.
    """

    redis: Mapping[str, bytes | None]
    messages: Mapping[str, tuple[str, str]]
    blobs: Mapping[str, str]

    def changes(self, after: Snapshot, *, of: App | None) -> dict[str, Any]:
        """Return what has changed, without the keys of the app `of` and of its circuit."""
        own = () if of is None else (str(of.identity), of.settings["BREAKER_NAME"])
        checkpoints = None if of is None else of.checkpoints
        before_and_after = {
            "redis": (self.redis, after.redis),
            "messages": (self.messages, after.messages),
            "blobs": (self.blobs, after.blobs),
        }
        return {
            f"{kind} {name}": (before.get(name), now.get(name))
            for kind, (before, now) in before_and_after.items()
            for name in sorted({*before, *now})
            if before.get(name) != now.get(name)
            and not (kind == "redis" and any(each in name for each in own))
            and not (checkpoints and name.startswith(checkpoints))
        }


@dataclass
class TwoApps:
    """Two apps, or two pipelines of one; the tools under test are those of `a`."""

    a: App
    b: App
    redis: Any = field(repr=False)

    async def run(self, *arguments: str) -> Ended:
        """Run `python -m processing` with the settings of both pipelines, and choose none."""
        return await run(*arguments, settings=self.a.settings_file)

    async def snapshot(self) -> Snapshot:
        """Return all keys of Redis, and the messages and blobs of both apps."""
        dumps = {
            bytes(key).decode(): await self.redis.dump(key)
            for key in await self.redis.keys("*")
            if b":alive:" not in key
        }
        messages: dict[str, tuple[str, str]] = {}
        blobs: dict[str, str] = {}
        for app in (self.a, self.b):
            async with app.queue() as queue:
                try:
                    for each in await queue.peek_messages(max_messages=32):
                        place = f"{app.settings['POISON_QUEUE']}/{each.id}"
                        messages[place] = (each.content, str(each.inserted_on))
                except ResourceNotFoundError:
                    pass
            for name in (app.settings["POISON_QUEUE"], CONTAINER):
                async with ContainerClient.from_connection_string(
                    app.settings["AzureWebJobsStorage"], name
                ) as container:
                    try:
                        async for blob in container.list_blobs():
                            blobs[f"{name}/{blob.name}"] = str(blob.etag)
                    except ResourceNotFoundError:
                        pass
        return Snapshot(dumps, messages, blobs)


@asynccontextmanager
async def two_apps(
    common: Mapping[str, str], directory: Path, *, a: Mapping[str, str], b: Mapping[str, str]
) -> AsyncIterator[TwoApps]:
    """Yield two apps with these settings; names that are not given are made for each run."""
    run = secrets.token_hex(4)
    async with AsyncExitStack() as opened:
        apps = []
        for name, own in (("a", a), ("b", b)):
            settings = {
                "EVENT_HUB_NAME": f"hub-{run}",
                "EVENT_HUB_CONSUMER_GROUP": "$Default",
                "POISON_QUEUE": f"poison-{run}",
                "EVENT_HANDLER": "tests.support.handlers.appending:AppendingHandler",
                "HANDLED_FILE": str(directory / f"{name}.txt"),
                "PROCESSING_POISON_ORDERING": "park",
                "PROCESSING_MAX_ATTEMPTS": "1",
                "BREAKER_NAME": f"c{run}{name}",
                **common,
                **own,
            }
            file = directory / f"{name}.json"
            file.write_text(json.dumps({"IsEncrypted": False, "Values": settings}))
            wiring = Wiring(settings, opened)
            await wiring.migration().ensure()  # as the app does before its first batch
            apps.append(App(settings, file, wiring))
        client = await opened.enter_async_context(Redis.from_url(common["REDIS_URL"]))
        yield TwoApps(apps[0], apps[1], client)


@asynccontextmanager
async def two_pipelines(
    settings: Mapping[str, str], directory: Path, *, one_queue: bool
) -> AsyncIterator[TwoApps]:
    """Yield the pipelines `orders` and `audit` of an app with these settings.

    Args:
        settings: the settings of the app; names that are not given are made for each run.
        directory: folder for the settings, and for the records of the handlers.
        one_queue: whether both pipelines write to one poison queue.
    """
    run_id = secrets.token_hex(4)
    queue = {f"PIPELINE_{name}_POISON_QUEUE": f"poison-{run_id}" for name in ("ORDERS", "AUDIT")}
    whole = {
        "PIPELINES": "orders,audit",
        "EVENT_HUB_CONSUMER_GROUP": "$Default",
        "POISON_QUEUE": f"poison-{run_id}",
        "EVENT_HANDLER": "tests.support.handlers.appending:AppendingHandler",
        "HANDLED_FILE": str(directory / "handled.txt"),
        "PROCESSING_POISON_ORDERING": "park",
        "PROCESSING_MAX_ATTEMPTS": "1",
        "BREAKER_NAME": f"c{run_id}",
        **(queue if one_queue else {}),
        **settings,
    }
    file = directory / "local.settings.json"
    file.write_text(json.dumps({"IsEncrypted": False, "Values": whole}))
    async with AsyncExitStack() as opened:
        found = []
        for each in pipelines_of(whole):
            wiring = Wiring(each.settings, opened)
            await wiring.migration().ensure()
            found.append(App(dict(each.settings), file, wiring, ("--pipeline", each.name)))
        client = await opened.enter_async_context(Redis.from_url(whole["REDIS_URL"]))
        yield TwoApps(found[0], found[1], client)
