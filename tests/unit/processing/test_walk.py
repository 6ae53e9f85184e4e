"""The modules on the way of one event, and how often each is entered."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any, cast

import azure.functions as func
import pytest

from breakwater.functions import Blueprint, blueprint
from processing.batch.processor import BatchProcessor
from processing.errors import PoisonEventError
from processing.event import Event
from processing.handlers.loading import LoadedHandler
from processing.parts import Parts
from processing.poison.memory import MemoryPoisonQueue, MemoryPoisonReader
from processing.settings import ProcessingSettings
from scripts.load_app import SETTINGS
from tests.support.processing.parking_rig import FAST, Rig, open_rig
from tests.support.processing.walk import Walk

MOST_MODULES_THERE, MOST_MODULES, MOST_ENTRIES = 10, 17, 2
"""The limits: modules from the trigger to the handler or the poison queue; modules of that way and
of the way back, by redrive, to the handler; entries of each module."""


class Bound:
    """An event in the form that the trigger passes to the function."""

    metadata = {  # noqa: RUF012 - as the worker has it
        "PartitionContext": json.dumps(
            {
                "FullyQualifiedNamespace": "ns.example.net",
                "EventHubName": "events",
                "ConsumerGroup": "$Default",
                "PartitionId": "0",
            }
        ),
        "SystemPropertiesArray": json.dumps(
            [
                {
                    "SequenceNumber": 5,
                    "Offset": "500",
                    "PartitionKey": "k",
                    "EnqueuedTimeUtc": "2026-01-01T00:00:00.000",
                }
            ]
        ),
        "PropertiesArray": "[{}]",
    }

    def get_body(self) -> bytes:
        return b"{}"


class Refusing:
    """A handler that refuses an event as poison, until it accepts."""

    def __init__(self) -> None:
        self.refuses = True

    async def handle(self, event: Event) -> None:
        if self.refuses:
            raise PoisonEventError(f"event {event.sequence_number} is refused")


@pytest.fixture
async def stores() -> AsyncIterator[Rig]:
    async with open_rig() as rig:
        yield rig


@pytest.fixture
def app() -> Blueprint:
    return blueprint(SETTINGS)


async def follow(app: Blueprint, stores: Rig, poison_ordering: str) -> tuple[Walk, Walk]:
    """Follow one event into the poison queue, then by redrive to the handler.

    The app has the deployed app's functions on in-memory stores. An in-memory store takes the place
    of the store on Redis or Azure Storage.
    """
    refusing = Refusing()
    handler = LoadedHandler("tests:handler", refusing.handle, timeout_seconds=60)
    processor = BatchProcessor(
        handler,
        breaker=stores.breaker,
        progress=stores.progress,
        poison=stores.poison,
        parking=stores.parking,
        settings=ProcessingSettings(**(FAST | {"poison_ordering": poison_ordering})),
    )
    (only,) = app.application._running.values()
    only._parts = Parts(
        breaker=stores.breaker,
        dependencies=cast("Any", None),
        processor=processor,
        heartbeat=cast("Any", None),  # no event reads the others
        health=cast("Any", None),
        closing=AsyncExitStack(),
    )
    functions = func.FunctionApp()
    functions.register_functions(app)
    trigger = functions.get_functions()[0].get_user_function()
    there = Walk({"handler": Refusing.handle, "poison queue": MemoryPoisonQueue.put})
    with there.followed():
        await trigger([Bound()])
    refusing.refuses = False
    redrive = stores.redrive(handler=handler)
    back = Walk({"poison message": MemoryPoisonReader.receive, "handler": Refusing.handle})
    with back.followed():
        summary = await redrive.run()
    assert summary.complete
    assert summary.replayed == 1
    return there, back


def most_entries(entries: Sequence[str]) -> int:
    """Return the number of entries of the module that is entered most often."""
    return max(Counter(entries).values())


@pytest.mark.parametrize(
    ("poison_ordering", "to_poison_queue"),
    [
        ("skip", ["processing.batch.outcome", "processing.batch.run", "processing.poison.memory"]),
        (
            "park",
            [
                "processing.batch.outcome",
                "processing.parking.batch",
                "processing.batch.run",
                "processing.poison.memory",
            ],
        ),
    ],
)
async def test_event_goes_through_few_modules(
    app: Blueprint, stores: Rig, poison_ordering: str, to_poison_queue: list[str]
) -> None:
    """The ways of one event stay within the limits.

    The counted modules are on the chain of calls from the function `process_events` to the handler
    and to the poison queue, and from `Redrive.run` to the handler. Control enters a module when a
    function of another module of ours calls it: directly, through a library (tenacity), or as a new
    task. A helper that returns before the stop is not on the way, and a return to its caller is no
    entry. The tasks of the circuit's watcher do not belong to the event.
    """
    there, back = await follow(app, stores, poison_ordering)
    for name, walk in (("there", there), ("back", back)):
        print(f"\n{poison_ordering}, {name}:", *walk.entries, sep="\n  ")  # noqa: T201 - for pytest -s
        print("helpers that return:", *walk.helpers, sep="\n  ")  # noqa: T201
    assert [name for name, _ in there.ways] == ["handler", "poison queue"]
    assert [name for name, _ in back.ways][-1] == "handler"
    to_handler = [
        "breakwater.functions",
        "processing.bootstrap",
        "processing.batch.processor",
        "processing.batch.workers",
        "processing.batch.lane",
        "processing.handlers.retry",
        "processing.monitoring.telemetry",
        "processing.handlers.time_limit",
    ]
    assert there.entries == [*to_handler, *to_poison_queue]
    assert back.entries == [
        "processing.redrive.redrive",
        "processing.redrive.held_messages",
        "processing.poison.memory",
        "processing.redrive.replaying",
        "processing.redrive.key_replay",
        *(["processing.redrive.list_replay"] if poison_ordering == "park" else []),
        "processing.redrive.attempts",
        "processing.handlers.retry",
        "processing.handlers.time_limit",
    ]
    for _, way in there.ways:
        assert len(set(way) - {"breakwater.functions"}) <= MOST_MODULES_THERE
    assert len({*there.modules, *back.modules}) <= MOST_MODULES
    assert most_entries([*there.entries, *back.entries]) <= MOST_ENTRIES


async def test_default_ways_to_handler_and_poison_queue_stay_within_the_limit(
    app: Blueprint, stores: Rig
) -> None:
    """By default the modules of both ways together stay within the limit of one way."""
    there, _ = await follow(app, stores, ProcessingSettings().poison_ordering)
    assert len(there.modules) <= MOST_MODULES_THERE
