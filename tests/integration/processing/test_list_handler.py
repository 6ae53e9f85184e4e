"""A handler of lists on real stores: what it leaves there is what a handler of one event leaves."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from processing.bootstrap import Application
from processing.dependencies import dependency
from processing.errors import DependencyUnavailableError, PoisonEventError
from processing.event import Event, EventBatch
from processing.identity import Source
from processing.settings import ConnectionSettings
from processing.wiring import Wiring
from tests.conftest import EventHubsEndpoint
from tests.support.processing.events import event
from tests.support.processing.two_apps import LARGE, run

MODULE = "handlers_of_one_event_and_of_lists"
KEYS = ("bank", "bad", "ann", "late", "dan")
TOTAL = 12 * len(KEYS)
BAD, LATE = 4 * len(KEYS) + 1, 6 * len(KEYS) + 3
"""The event that is poison, and the first event of its key that needs the bank."""


class Handlers:
    """The same work, as a handler of one event and as a handler of lists.

    A call that raises has done nothing.

    Attributes:
        calls: the sequence numbers of each call.
        handled: the sequence numbers of the handled events, in order.
        large: those of them with the body that needs a claim check.
        down: whether the bank is down.
        cured: whether the poison event can be handled.
    """

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.handled: list[int] = []
        self.large: list[int] = []
        self.down = True
        self.cured = False

    async def single(self, event: Event) -> None:
        await self._work([event])

    async def lists(self, events: list[Event]) -> None:
        await self._work(events)

    async def _work(self, events: Sequence[Event]) -> None:
        self.calls.append([each.sequence_number for each in events])
        for each in events:
            if each.sequence_number == BAD and not self.cured:
                raise PoisonEventError("bad")
            if each.key == "bank" or (each.key == "late" and each.sequence_number >= LATE):
                async with dependency("bank"):
                    if self.down:
                        raise DependencyUnavailableError("the bank is down")
        self.handled += [each.sequence_number for each in events]
        self.large += [each.sequence_number for each in events if each.body == LARGE]

    @property
    def by_key(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = defaultdict(list)
        for number in self.handled:
            found[KEYS[number % len(KEYS)]].append(number)
        return dict(found)


class App:
    """An app on real stores, in this process.

    Attributes:
        found: everything that the run has left, by step; the same for both kinds of handlers.
        first_calls: the calls of the batches.
        replays: the calls of the replays.
    """

    def __init__(self, settings: dict[str, str], file: Path, handlers: Handlers) -> None:
        self.settings, self.handlers, self._file = settings, handlers, file
        self.found: dict[str, Any] = {}
        self.first_calls: list[list[int]] = []
        self.replays: list[list[int]] = []
        self.application = Application(settings)
        self.source = Source(ConnectionSettings.from_mapping(settings).identity, "0")

    def batch(self, *numbers: int) -> EventBatch:
        """Return events; a body of the parked key needs a claim check."""
        return EventBatch(
            self.source,
            [
                event(
                    *(number, KEYS[number % len(KEYS)]),
                    source=self.source,
                    body=LARGE if number == BAD + len(KEYS) else b"{}",
                )
                for number in numbers
            ],
        )

    async def process(self, step: str, *numbers: int) -> None:
        outcomes = (await self.application.process(self.batch(*numbers))).outcomes
        self.found[step] = {"outcomes": outcomes} | await self.stored()

    async def stored(self) -> dict[str, Any]:
        """Return what the stores have, without times and the app's own names."""
        async with AsyncExitStack() as opened:
            wiring = Wiring(self.settings, opened)
            store = wiring.parking_store()
            keys = {str(each.key): each.deferral for each in await store.keys()}
            progress = await wiring.progress().load(self.source)
            return {
                "by key": self.handlers.by_key,
                "watermark": progress.watermark,
                "finished": dict(progress.finished),
                "lists": {
                    key: [
                        (entry.kind, entry.position)
                        for entry in await store.entries(self.source, key, most=TOTAL)
                    ]
                    for key in sorted(keys)
                },
                "deferrals": {
                    key: (each.reason, each.dependency) for key, each in keys.items() if each
                },
            }

    async def lines(self, *command: str) -> list[dict[str, Any]]:
        """Return what an operator sees, without times and the app's own names."""
        ended = await run(*command, "--json", settings=self._file)
        assert (ended.code, ended.err) == (0, ""), ended
        found = (_plain(json.loads(line)) for line in ended.out.splitlines())
        return sorted(found, key=lambda each: str(each["key"]))

    async def shown(self, step: str) -> None:
        self.found[f"{step}, shown"] = {
            "poison": await self.lines("poison", "list"),
            "parked": await self.lines("parked", "list"),
        }

    async def replay(self, step: str) -> None:
        """Bring the bank back, approve, and replay until no key is deferred."""
        self.handlers.down = False
        async with AsyncExitStack() as opened:
            wiring = Wiring(self.settings, opened)
            bank = await (await wiring.dependencies()).use("bank")
            assert bank is not None
            await bank.approve((await bank.refresh()).generation, "ann")
            store = wiring.parking_store()
            while any(each.deferral is not None for each in await store.keys()):
                await self.application.replay_deferred()
                await asyncio.sleep(0.02)
        self.found[step] = await self.stored()

    async def redrive(self, step: str) -> None:
        self.handlers.cured = True
        ended = await run("redrive", "--json", settings=self._file)
        assert ended.code == 0, ended
        self.found[step] = await self.stored()


def _plain(line: dict[str, Any]) -> dict[str, Any]:
    kept = ("key", "sequence_number", "partition", "parked", "attempts", "reason", "dependency")
    found = {name: line[name] for name in kept if name in line}
    match line.get("error"):
        case {"type": kind, "message": message}:
            found["error"] = (kind, message)
        case str(text):
            found["error"] = text.partition(":")[0]  # a refusal also names its circuit
    return found


@asynccontextmanager
async def opened(kind: str, stores: dict[str, str], directory: Path) -> AsyncIterator[App]:
    """Yield the app with a handler of this kind."""
    handlers = Handlers()
    module = ModuleType(MODULE)
    vars(module)["handle"] = getattr(handlers, kind)
    sys.modules[MODULE] = module
    name = f"{kind}-{secrets.token_hex(4)}"
    settings = stores | {
        "BREAKER_NAME": name,
        "EVENT_HUB_CONSUMER_GROUP": name,
        "POISON_QUEUE": name,
        "EVENT_HANDLER": f"{MODULE}:handle",
    }
    file = directory / f"{kind}.json"
    file.write_text(json.dumps({"IsEncrypted": False, "Values": settings}))
    app = App(settings, file, handlers)
    try:
        yield app
    finally:
        await app.application.aclose()
        sys.modules.pop(MODULE, None)


async def story(app: App) -> None:
    """Run batches with a poison event and an open circuit, then the replays and a redrive."""
    numbers = range(TOTAL)
    await app.process("the bank's circuit opens", 0)
    await app.process("one batch", *numbers[: 9 * len(KEYS)])
    await app.shown("one batch")
    await app.process("more of it", *numbers[9 * len(KEYS) :])
    await app.process("again", *numbers)
    app.first_calls = app.handlers.calls.copy()
    await app.replay("replays")
    app.replays = app.handlers.calls[len(app.first_calls) :]
    await app.redrive("redrive")
    await app.shown("redrive")


@pytest.fixture
def stores(redis_url: str, azurite: str, event_hubs: EventHubsEndpoint) -> dict[str, str]:
    return {
        "REDIS_URL": redis_url,
        "AzureWebJobsStorage": azurite,
        "EventHubConnection": event_hubs.connection_string,
        "EVENT_HUB_NAME": "events",
        "PROCESSING_POISON_ORDERING": "park",
        "PROCESSING_DEFER_AFTER_SECONDS": "0.1",
        "PROCESSING_RETRY_INITIAL_SECONDS": "0.01",
        "PROCESSING_RETRY_MAX_SECONDS": "0.02",
        "DEPENDENCY_BANK_FAILURE_THRESHOLD": "1",
        "DEPENDENCY_BANK_RECOVERY": "manual",
        "DEPENDENCY_BANK_RAMP_SECONDS": "0",
    }


async def test_lists_leave_in_real_stores_what_single_calls_leave(
    stores: dict[str, str], tmp_path: Path
) -> None:
    """Order, progress, poison message, parked and deferred lists, then replays and a redrive."""
    found = {}
    for kind in ("single", "lists"):
        async with asyncio.timeout(60), opened(kind, stores, tmp_path) as app:
            await story(app)
            found[kind] = app
    single, lists = found["single"], found["lists"]
    assert lists.found == single.found
    seen = lists.found["one batch"]
    assert seen["deferrals"].keys() == {"bank", "late"}, "the test shows nothing without them"
    assert seen["lists"].keys() == {"bad", "bank", "late"}
    assert lists.found["redrive, shown"] == {"poison": [], "parked": []}
    numbers = {key: [*range(place, TOTAL, len(KEYS))] for place, key in enumerate(KEYS)}
    assert lists.handlers.by_key == numbers
    assert lists.handlers.large == [BAD + len(KEYS)]
    most, behind = max(map(len, lists.first_calls)), max(map(len, lists.replays))
    assert (most, behind > 1) == (9 * (len(KEYS) - 1), True), "lists in batches and in replays"
    assert max(map(len, single.handlers.calls)) == 1
    assert len(lists.handlers.calls) < len(single.handlers.calls) * 2 / 3
