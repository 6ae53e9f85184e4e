"""The index of the poison queue on real Redis and Azurite: the app writes it, operators list it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from local.services.child import REPOSITORY
from local.services.ports import free_port
from processing.poison.queue import Received
from processing.redrive.run_store import RunningRedrive
from processing.wiring import Wiring
from tests.support.local.functions_host import clean_environment
from tests.support.patience import STORE_SECONDS
from tests.support.processing.browsing import browse_copies
from tests.support.processing.two_apps import LARGE, App, two_apps


@pytest.fixture
def common(redis_url: str, azurite: str) -> dict[str, str]:
    return {
        "REDIS_URL": redis_url,
        "AzureWebJobsStorage": azurite,
        "EventHubConnection": "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=n;SharedAccessKey=k",
        "BREAKER_STORE_TIMEOUT_SECONDS": f"{STORE_SECONDS}",
    }


@pytest.fixture
async def app(common: dict[str, str], tmp_path: Path) -> AsyncIterator[App]:
    """Yield an app that has compared its empty queue."""
    async with two_apps(common, tmp_path, a={}, b={}) as apps:
        await compare(apps.a)
        yield apps.a


async def compare(app: App) -> None:
    await (await app.wiring.comparison()).ensure(fresh=True)


async def empty_redis(app: App) -> None:
    async with Redis.from_url(app.settings["REDIS_URL"]) as client:
        await client.flushall()


async def listed(app: App, *arguments: str) -> list[dict[str, Any]]:
    ended = await app.run("poison", "list", "--json", *arguments)
    assert ended.code == 0, ended
    return list(map(json.loads, ended.out.splitlines()))


async def received(app: App) -> list[str]:
    """Return the ids of the messages that nobody holds."""
    found = await browse_copies(await app.wiring.poison_reader())
    return sorted(each.id for each in found)


def without_redis(app: App) -> dict[str, str]:
    """Return the app's settings with the address of a Redis that is down."""
    url = f"redis://127.0.0.1:{free_port()}/0"
    return app.settings | {"REDIS_URL": url, "BREAKER_STORE_TIMEOUT_SECONDS": "0.5"}


async def test_poisoned_event_is_indexed_with_its_receipt(app: App) -> None:
    """The receipt of the write holds the message, without any receiving."""
    message = await app.poison("k", 1)
    large = await app.poison("k", 2, LARGE)
    index = app.wiring.poison_index()
    reader = await app.wiring.poison_reader()
    entries = (await index.page()).entries
    assert [each.message.id for each in entries] == [message.id, large.id]
    for entry in entries:
        taken = await reader.take(entry)
        assert isinstance(taken, Received)
        await reader.put_back(taken)
    assert await received(app) == [message.id, large.id]
    state = await index.state()
    assert (state.entries, state.total) == (2, 2)


async def test_list_does_not_receive(app: App) -> None:
    """A redrive and other readers find all messages while lists are read."""
    for number in range(3):
        await app.poison("k", number)
    before = await messages(app)
    assert [each["sequence_number"] for each in await listed(app)] == [0, 1, 2]
    assert await messages(app) == before


async def messages(app: App) -> list[tuple[str, int | None]]:
    """Return the messages, each with the number of times that it was received."""
    async with app.queue() as queue:
        return [
            (each.id, each.dequeue_count) for each in await queue.peek_messages(max_messages=32)
        ]


async def test_list_goes_on_behind_a_page(app: App) -> None:
    """The last line names the cursor; key and text select."""
    for number in range(5):
        await app.poison(f"key-{number % 2}", number)
    first = await app.run("poison", "list", "--limit", "3")
    assert "5 messages of " in first.out
    ids = [line.split()[0].split("/")[3] for line in first.out.splitlines() if "key-" in line]
    assert ids == ["0", "1", "2"]
    cursor = first.out.splitlines()[-1].removeprefix("More: add --after ")
    second = await app.run("poison", "list", "--limit", "3", "--after", cursor)
    ids = [line.split()[0].split("/")[3] for line in second.out.splitlines() if "key-" in line]
    assert ids == ["3", "4"]
    assert "More:" not in second.out
    assert [each["sequence_number"] for each in await listed(app, "--key", "key-1")] == [1, 3]
    assert [each["sequence_number"] for each in await listed(app, "--search", "KEY-0")] == [0, 2, 4]
    assert await listed(app, "--search", "nothing") == []
    ended = await app.run("poison", "list", "--after", cursor, "--key", "key-1")
    assert (ended.code, "belongs to a list without --key" in ended.err) == (1, True)
    ended = await app.run("poison", "list", "--after", "not a cursor")
    assert (ended.code, "'not a cursor' is not a cursor" in ended.err) == (2, True)


async def test_emptied_redis_builds_the_index_again(app: App) -> None:
    """The queue stays the truth; nothing is missing from the list, and nothing stays held."""
    ids = sorted([(await app.poison("k", number)).id for number in range(40)])
    await empty_redis(app)
    assert sorted(each["id"] for each in await listed(app)) == ids
    assert await received(app) == ids
    assert (await app.wiring.poison_index().state()).entries == 40


async def test_messages_that_somebody_deleted_are_not_listed(app: App) -> None:
    """Another program may clear the queue; a running redrive removes its entries itself."""
    await app.poison("k", 1)
    async with app.queue() as queue:
        await queue.clear_messages()
    await app.poison("k", 2)
    await app.poison("k", 3)
    index = app.wiring.poison_index()
    run = RunningRedrive("ann@host")
    async with app.wiring.redrive_runs().entered(run):
        ended = await app.run("poison", "list")
        assert "3 messages of " in ended.out
        assert "ann@host redrives everything" in ended.out
    assert [each["sequence_number"] for each in await listed(app)] == [2, 3]
    assert (await index.state()).entries == 2


async def test_list_without_redis_reads_the_queue(app: App) -> None:
    """The operator needs the list most while something is down."""
    for number in range(3):
        await app.poison("k", number)
    away = replace(app, settings=without_redis(app))
    ended = await away.run("poison", "list")
    assert ended.code == 0, ended
    assert "3 messages of " in ended.out
    assert "reading the whole queue instead" in ended.err
    shown = await away.run("poison", "show", "0/1/1700000000001")
    assert json.loads(shown.out)["sequence_number"] == 1


async def test_poisoned_event_needs_no_redis(app: App) -> None:
    """The queue has the message, and the index is repaired later."""
    message = app.message(app.event("k", 1))
    async with AsyncExitStack() as opened:
        await (await Wiring(without_redis(app), opened).poison()).put(message)
    assert await received(app) == [message.id]
    ended = await app.run("poison", "list")
    assert "1 message in the queue that the index does not know yet" in ended.out
    assert [each["id"] for each in await listed(app, "--fresh")] == [message.id]


async def test_unreadable_and_held_messages_are_said(app: App) -> None:
    """A message that somebody else holds is not missing without a word."""
    for number in range(3):
        await app.poison("k", number)
    await app.send("this is not a poison message")
    await app.send_raw("this is not base64")
    await empty_redis(app)
    reader = await app.wiring.poison_reader()
    held = await reader.receive()
    assert (len(held), await reader.receive()) == (3, [])
    ended = await app.run("poison", "list")
    assert "No poison messages" in ended.out
    assert "not listed: 3 messages that another program has received" in ended.out
    assert "2 messages in the queue that this version cannot read" in ended.out
    for each in held:
        await reader.put_back(each)
    ended = await app.run("poison", "list", "--fresh")
    assert "3 messages of " in ended.out
    assert "held" not in ended.out
    async with app.queue() as queue:
        assert len(await queue.peek_messages(max_messages=32)) == 5


async def test_show_and_discard_receive_only_their_message(app: App) -> None:
    """The other messages of a big queue stay where they are."""
    for number in range(3):
        await app.poison(f"k{number}", number)
    before = sorted(await messages(app))
    shown = await app.run("poison", "show", "0/1/1700000000001")
    assert json.loads(shown.out)["key"] == "k1"
    assert sorted(await messages(app)) == before
    assert [each["sequence_number"] for each in await listed(app)] == [0, 1, 2]


async def test_show_says_that_somebody_holds_the_message(app: App) -> None:
    """Not that there is no such message."""
    message = await app.poison("k", 1)
    reader = await app.wiring.poison_reader()
    (held,) = await reader.receive()
    ended = await app.run("poison", "show", message.id)
    assert ended.code == 1
    assert "another program has received the poison message" in ended.err
    await reader.put_back(held)
    ended = await app.run("poison", "show", message.id)
    assert (ended.code, ended.err) == (0, "")


@pytest.mark.long
async def test_interrupted_list_puts_messages_back(app: App) -> None:
    """Ctrl-C during the reading of a long queue; what was held can be received again."""
    sent = await asyncio.gather(*(app.poison("k", number) for number in range(400)))
    await empty_redis(app)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "processing", "poison", "list"),
        *("--settings", str(app.settings_file)),
        cwd=REPOSITORY,
        env=clean_environment(),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    index = app.wiring.poison_index()
    while not (await index.state()).comparing:
        assert process.returncode is None
    os.kill(process.pid, signal.SIGINT)
    await process.communicate()
    assert process.returncode == 130
    state = await index.state()
    assert (state.built_at, state.comparing) == (None, None)
    ids = sorted(each.id for each in sent)
    while await received(app) != ids:
        await asyncio.sleep(0.1)
    assert sorted(each["id"] for each in await listed(app, "--fresh")) == ids
