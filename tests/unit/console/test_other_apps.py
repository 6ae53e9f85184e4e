"""The poison pages beside another app's events in the same queue (C15)."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from console.backplane.coordination import MemoryCoordination
from console.errors import OperationsError
from console.live.incident_log import IncidentLog
from console.poison.api import PoisonApi
from console.poison.catalogue import Catalogue
from console.poison.counts import PoisonCounts
from console.poison.redrive import BROWSE, RedriveApi
from processing.identity import Identity, Source
from processing.monitoring.poison_count import PoisonCount
from processing.poison.message import PoisonMessage
from tests.unit.console.test_poison import IDENTITY, SOURCE, Queue, message
from tests.unit.console.test_redrive import Desk, MemoryOperations

OTHER = Identity(IDENTITY.namespace, IDENTITY.hub, "audit")
"""Another app that reads the same hub, so that its events have the same ids."""
NAME = "hub@ns.example.net/audit"


def of_other(number: int, **changes: Any) -> PoisonMessage:
    """Return a message of the other app."""
    return replace(message(number, **changes), source=Source(OTHER, SOURCE.partition))


@pytest.fixture
def desk() -> Desk:
    """Return a desk with one own event of key K0, and two of the other app: keys K0 and K1."""
    found = Desk(MemoryOperations(1))
    found.operations.queue.messages += [of_other(0, key="K0"), of_other(1, key="K1")]
    return found


def api(desk: Desk) -> PoisonApi:
    return PoisonApi(desk.operations, desk.catalogue)


async def ask(desk: Desk, handler: str, query: bytes = b"", **path: str) -> dict[str, Any]:
    scope = {"type": "http", "path_params": path, "query_string": query}
    found: dict[str, Any] = json.loads(
        bytes((await getattr(api(desk), handler)(Request(scope))).body)
    )
    return found


async def test_list_names_the_other_apps_and_counts_their_events(desk: Desk) -> None:
    """Another app's console lists, redrives and discards them."""
    answer = await ask(desk, "find")
    assert [each["key"] for each in answer["messages"]] == ["K0"]
    assert answer["queue"]["of_others"] == {NAME: 2}
    assert (answer["queue"]["total"], answer["queue"]["count"]) == (1, 3)


async def test_dialog_shows_the_own_event(desk: Desk) -> None:
    """Both apps read the hub, so that their events have the same id."""
    queue = desk.operations.queue.messages
    assert (await ask(desk, "show", id=queue[0].id))["id"] == queue[0].id
    with pytest.raises(HTTPException) as refused:
        await ask(desk, "show", id=queue[2].id)
    assert refused.value.status_code == 404


@pytest.mark.parametrize("act", [("redrive", {}), ("discard", {"reason": "r"})])
async def test_action_on_another_apps_event_is_refused(
    desk: Desk, act: tuple[str, dict[str, str]]
) -> None:
    """The refusal says whose the event is and what to do; no job starts."""
    queue = desk.operations.queue.messages
    before = list(queue)
    with pytest.raises(HTTPException) as refused:
        await desk.ask(act[0], id=queue[2].id, **act[1])
    assert refused.value.status_code == 409
    assert f"belongs to the app {NAME}" in refused.value.detail
    assert "with the settings of that app" in refused.value.detail
    assert (queue, desk.operations.handled, await desk.lines()) == (before, [], [])


@pytest.mark.parametrize("what", ["redrive", "discard"])
async def test_action_on_an_event_of_both_apps_takes_the_own_one(desk: Desk, what: str) -> None:
    """Both apps read the hub, so that their events have the same id."""
    queue = desk.operations.queue.messages
    others = queue[1:]
    assert await desk.ask(what, id=queue[0].id, reason="r") == 202
    ended = await desk.ended()
    assert (ended["replayed"], ended["discarded"]) == (what == "redrive", what == "discard")
    assert queue == others


async def test_redrive_of_everything_counts_the_events_of_other_apps(desk: Desk) -> None:
    """The result on the page and the line in the log name the other app."""
    others = desk.operations.queue.messages[1:]
    assert await desk.ask("redrive", all=True) == 202
    ended = await desk.ended()
    assert (ended["replayed"], ended["failed"], ended["left"]) == (1, 0, 0)
    assert ended["other_apps"] == f"2 messages of another app were left alone: {NAME}"
    assert ended["other_apps"] in (await desk.lines())[-1][2]
    assert desk.operations.queue.messages == others


async def test_long_queue_is_read_only_if_it_has_events_of_other_apps() -> None:
    """A reading hides the messages, so the first ones, which are peeked at, must give a reason."""
    queue = Queue(40)
    queue.queue.messages += [of_other(number) for number in range(40, 90)]
    counts = PoisonCounts(Catalogue(queue.open))
    assert await counts.split(None) == (None, None)
    assert await counts.split(PoisonCount(90, 0, is_whole=False)) == (90, 0)
    assert await counts.split(PoisonCount(20, 5)) == (15, 5)
    assert (await queue.index.state()).built_at is None  # nothing was received
    assert await counts.split(PoisonCount(90, 1, is_whole=False)) == (40, 50)
    assert await counts.split(PoisonCount(90, 0, is_whole=False)) == (40, 50)  # the index knows


async def test_unreadable_queue_leaves_the_count_of_the_first_messages() -> None:
    """Another reader holds the queue; the number of others is then a lower bound."""

    async def away() -> Any:
        raise OperationsError("no answer")

    counts = PoisonCounts(Catalogue(away))
    assert await counts.split(PoisonCount(90, 3, is_whole=False)) == (87, 3)


async def test_redrive_holds_the_queue_for_the_consoles_of_all_apps() -> None:
    """The lease of the queue is taken in the place that those consoles share."""
    shared, operations = MemoryCoordination(), MemoryOperations(1)
    desk = Desk(operations)
    api = RedriveApi(
        *(operations, desk.coordination, desk.backplane, IncidentLog(desk.backplane)),
        catalogue=Catalogue(operations.poison),
        queue=shared,
    )
    desk.api = api
    operations.gate.clear()
    assert await desk.ask("redrive", all=True) == 202
    async with asyncio.timeout(10):
        while not operations.begun:
            await asyncio.sleep(0)
    assert await shared.holder(BROWSE)
    assert not await desk.coordination.holder(BROWSE)
    operations.gate.set()
    await desk.ended()
    assert not await shared.holder(BROWSE)
