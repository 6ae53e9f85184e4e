"""Handlers that break their events and raise odd errors, on Redis and the storage emulator."""

from __future__ import annotations

import json
import secrets
import threading
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from processing.errors import (
    LeaseLostError,
    OwnershipLostError,
    ShutdownError,
)
from processing.event import Event, EventBatch
from processing.frozen import frozen
from processing.identity import Identity, Source
from processing.operations import open_parking, open_poison
from processing.parking.deferral import DeferralReason
from processing.parts import Parts
from processing.progress.redis import RedisProgressStore
from processing.progress.store import Mark
from tests.support.processing.browsing import browse
from tests.support.processing.events import event

handled: list[int] = []


class _SilentError(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


def _fail(error: BaseException) -> None:
    raise error


def _change(each: Event, name: Any, value: Any) -> None:
    dict.__setitem__(each.properties, name, value)  # type: ignore[index]
    raise LookupError("changed")


def _replace_body(each: Event) -> None:
    object.__setattr__(each, "body", None)
    raise LookupError("replaced")


DEEDS: dict[str, Any] = {
    "shutdown": lambda _: _fail(ShutdownError("mine")),
    "ownership": lambda _: _fail(OwnershipLostError("mine")),
    "lease": lambda _: _fail(LeaseLostError("mine")),
    "closed": lambda _: _fail(GeneratorExit()),
    "interrupted": lambda _: _fail(KeyboardInterrupt()),
    "exits": lambda _: _fail(_SilentError()),
    "surrogates": lambda _: _fail(LookupError("\ud83d\0")),
    "long": lambda _: _fail(LookupError("\U0001f600" * 1_000_000)),
    "name": lambda _: _fail(type("E" * 60_000, (LookupError,), {})()),
    "frozen": lambda each: each.properties["list"].append(threading.Lock()),
    "lock": lambda each: _change(each, "x", threading.Lock()),
    "bytes": lambda each: _change(each, b"x", 1),
    "itself": lambda each: _change(each, "x", each.properties),
    "nan": lambda each: _change(each, "x", float("nan")),
    "body": _replace_body,
}


async def forget(each: Event) -> Any:
    """Return a generator instead of iterating over it."""
    return (number for number in [each.sequence_number])


async def handle(each: Event) -> None:
    """Do the deed that the event's key names, for the first event of the key."""
    if each.sequence_number < len(DEEDS):
        DEEDS[each.key or ""](each)
    handled.append(each.sequence_number)


@pytest.fixture
def app_settings(stack: dict[str, Any]) -> dict[str, str]:
    values: dict[str, str] = json.loads(Path(stack["settings_file"]).read_text())["Values"]
    return values


def _settings(stack_settings: dict[str, str], redis_url: str, **changes: str) -> dict[str, str]:
    own = {
        "REDIS_URL": redis_url,
        "EVENT_HUB_CONSUMER_GROUP": f"odd-{secrets.token_hex(4)}",
        "EVENT_HANDLER": f"{__name__}:handle",
        "POISON_QUEUE": f"poison-{secrets.token_hex(4)}",
        "PROCESSING_RETRY_INITIAL_SECONDS": "0",
        "PROCESSING_RETRY_MAX_SECONDS": "0",
        "BREAKER_NAME": f"odd-{secrets.token_hex(4)}",
    }
    return stack_settings | own | changes


@pytest.mark.parametrize("ordering", ["skip", "park"])
async def test_batch_ends_and_the_poison_queue_has_every_event(
    ordering: str, redis_url: str, app_settings: dict[str, str]
) -> None:
    """The next event of each key is handled, or parked; the batch ends at its first run."""
    settings = _settings(
        app_settings,
        redis_url,
        PROCESSING_POISON_ORDERING=ordering,
        PROCESSING_HOLD_SECONDS="5",
    )
    source = Source(
        Identity("127.0.0.1", settings["EVENT_HUB_NAME"], settings["EVENT_HUB_CONSUMER_GROUP"]), "0"
    )
    bad = [_event(number, key, source) for number, key in enumerate(DEEDS)]
    good = [_event(len(bad) + number, key, source) for number, key in enumerate(DEEDS)]
    handled.clear()
    parts = await Parts.build(settings)
    try:
        result = await parts.processor.process(EventBatch(source, [*bad, *good]))
    finally:
        await parts.closing.aclose()
    parked = len(good) if ordering == "park" else 0
    assert (result.poisoned, result.parked) == (len(bad), parked)
    assert sorted(handled) == ([] if parked else [each.sequence_number for each in good])
    async with open_poison(settings) as storage:
        messages = {message.key: message for message in await browse(storage.reader)}
    assert messages.keys() == DEEDS.keys()
    for each in bad:
        message = messages[each.key]
        assert message.id == each.id
        if message.claim_check is None and each.key != "body":
            assert message.payload == f"body of {each.key}".encode()
    assert messages["body"].error.message.endswith("(not stored: body, which the handler replaced)")
    async with Redis.from_url(redis_url, decode_responses=True) as redis:
        progress = await RedisProgressStore(redis, ttl_seconds=60).load(source)
    assert progress.watermark == Mark(good[-1].sequence_number, good[-1].enqueued_ms)


async def test_faulty_handler_keeps_its_events_and_is_named(
    redis_url: str, app_settings: dict[str, str]
) -> None:
    """The event waits with its key, and nothing goes to the poison queue."""
    settings = _settings(
        app_settings,
        redis_url,
        EVENT_HANDLER=f"{__name__}:forget",
        PROCESSING_HOLD_SECONDS="0.1",
        PROCESSING_DEPENDENCY_PAUSE_SECONDS="0.05",
    )
    source = Source(
        Identity("127.0.0.1", settings["EVENT_HUB_NAME"], settings["EVENT_HUB_CONSUMER_GROUP"]), "0"
    )
    parts = await Parts.build(settings)
    try:
        result = await parts.processor.process(EventBatch(source, [_event(0, "a", source)]))
        assert result.deferred == 1
        problems = (await parts.health.report()).problems
    finally:
        await parts.closing.aclose()
    named = f"handler {__name__}:forget returned a generator: nobody iterates"
    assert any(each.startswith(named) for each in problems)
    async with open_poison(settings) as storage:
        assert await browse(storage.reader) == []
    async with open_parking(settings) as lists:
        (found,) = await lists.store.keys()
        assert (found.key, found.entries) == ("a", 1)
        assert found.deferral is not None
        assert found.deferral.reason is DeferralReason.FAULTY


def _event(number: int, key: str, source: Source) -> Event:
    body, properties = f"body of {key}".encode(), frozen({"list": [1]})
    return event(number, key, body=body, source=source, properties=properties)
