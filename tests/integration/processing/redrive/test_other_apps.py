"""Tools beside the data of another app: what is not theirs stays as it was found (C15)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from processing.monitoring.poison_count import poison_count
from processing.poison.message import PoisonMessage
from tests.conftest import EventHubsEndpoint
from tests.support.patience import STORE_SECONDS
from tests.support.processing.two_apps import LARGE, App, TwoApps, two_apps

type Values = Mapping[str, str]

SHARED_QUEUE: dict[str, tuple[Values, Values]] = {
    "hub": ({"EVENT_HUB_NAME": "events"}, {"EVENT_HUB_NAME": "audit"}),
    "group": (
        {"EVENT_HUB_NAME": "events", "EVENT_HUB_CONSUMER_GROUP": "$Default"},
        {"EVENT_HUB_NAME": "Events", "EVENT_HUB_CONSUMER_GROUP": "audit"},
    ),
    "namespace": (
        {"EVENT_HUB_NAME": "events"},
        {
            "EVENT_HUB_NAME": "events",
            "EventHubConnection": "Endpoint=sb://other.example.net/;SharedAccessKeyName=k;"
            "SharedAccessKey=aw==",
        },
    ),
}
"""Settings of two apps that share a poison queue and differ in one name."""


@pytest.fixture
def common(redis_url: str, azurite: str, event_hubs: EventHubsEndpoint) -> dict[str, str]:
    return {
        "REDIS_URL": redis_url,
        "AzureWebJobsStorage": azurite,
        "EventHubConnection": event_hubs.connection_string,
        "BREAKER_STORE_TIMEOUT_SECONDS": f"{STORE_SECONDS}",
    }


@pytest.fixture(params=[pytest.param(each, marks=pytest.mark.long) for each in SHARED_QUEUE])
async def shared(
    request: pytest.FixtureRequest, common: dict[str, str], tmp_path: Path
) -> AsyncIterator[TwoApps]:
    """Yield two apps with one poison queue, which differ in one name."""
    a, b = SHARED_QUEUE[request.param]
    async with two_apps(common, tmp_path, a=a, b=b) as apps:
        yield apps


async def leave_everything(app: App) -> PoisonMessage:
    """Leave each kind of data for an operator; return a message that is in no list."""
    await app.park("alice", 1, LARGE)
    loose = await app.poison("alice", 7)
    await app.poison(None, 8, LARGE)
    await app.defer("dora", 9)
    await app.lose_parked_events()
    await app.send("this is not a poison message")
    await app.send_raw("this is not base64")
    await app.send(json.dumps(json.loads(loose.to_json()) | {"version": 99}))
    return loose


ANY = -1
"""An exit code that depends on what other tests have sent to the hub."""

TOOLS: dict[str, tuple[tuple[str, ...], int]] = {
    "list": (("poison", "list"), 0),
    "list as JSON": (("poison", "list", "--json"), 0),
    "show": (("poison", "show", "{id}"), 0),
    "discard": (("poison", "discard", "{id}", "--reason", "a test"), 1),
    "discard by the end of the id": (("poison", "discard", "{end}", "--reason", "a test"), 1),
    "redrive of an event": (("redrive", "--id", "{id}"), 1),
    "redrive by the end of the id": (("redrive", "--id", "{end}"), 1),
    "plan of an event": (("redrive", "--id", "{id}", "--dry-run"), 1),
    "redrive of a key": (("redrive", "--key", "alice"), 1),
    "redrive of a deferred key": (("redrive", "--key", "dora"), 1),
    "plan of a key": (("redrive", "--key", "alice", "--dry-run"), 1),
    "plan": (("redrive", "--dry-run", "--json"), 0),
    "redrive": (("redrive",), 0),
    "redrive of everything": (("redrive", "--all", "--json"), 0),
    "parked list": (("parked", "list"), 0),
    "parked list of a dependency": (("parked", "list", "--dependency", "bank"), 0),
    "poison-head": (("parked", "poison-head", "0", "--yes"), ANY),  # A's partition may be finished
    "drop-mark": (("parked", "drop-mark", "0", "--reason", "a test"), 1),  # A has no mark
    "rewind to a mark": (("rewind", "--partition", "0", "--to-mark"), 1),
    "rewind": (("rewind", "--partition", "0", "--to-start", "--force"), 0),
    "migrate": (("migrate",), 0),
}
"""Each command of A, and its exit code where only B has data."""


async def test_no_tool_changes_what_is_another_apps(shared: TwoApps) -> None:
    """Redis, queue and blobs are as before, and B's own redrive then handles B's events."""
    a, b = shared.a, shared.b
    message = await leave_everything(b)
    names = {"id": message.id, "end": "/".join(message.id.split("/")[-3:])}
    before = await shared.snapshot()
    wrong: dict[str, object] = {}
    for name, (arguments, code) in TOOLS.items():
        ended = await a.run(*(each.format_map(names) for each in arguments))
        if code not in (ANY, ended.code):
            wrong[f"{name}: exit code {ended.code}"] = ended
        if changes := before.changes(await shared.snapshot(), of=a):
            wrong[name] = changes
    assert wrong == {}
    assert a.handled == []
    ended = await b.run("redrive", "--json")
    assert json.loads(ended.out)["replayed"] == 4, ended
    assert sorted(b.handled) == ["None 8", "alice 1", "alice 2", "alice 7"]


async def test_redrive_of_a_key_leaves_the_other_apps_event(shared: TwoApps) -> None:
    """Both apps have poisoned events of the key, two of them of version 0.1."""
    a, b = shared.a, shared.b
    await leave_everything(b)
    same_names = a.settings["EVENT_HUB_NAME"].lower() == b.settings["EVENT_HUB_NAME"].lower()
    same_group = len({each.identity.consumer_group for each in (a, b)}) == 1
    if not (same_names and same_group):  # else nothing tells the two apps' old messages apart
        await b.send(b.of_version_1("alice", 21))
    before = await shared.snapshot()
    await a.park("alice", 3, LARGE)
    await a.send(a.of_version_1("alice", 11))
    ended = await a.run("redrive", "--key", "alice")
    assert ended.code == 0, ended
    assert sorted(a.handled) == ["alice 11", "alice 3", "alice 4"]
    others = 2 if same_names and same_group else 3
    assert f"{others} messages of another app were left alone: {b.identity.app}" in ended.out
    assert before.changes(await shared.snapshot(), of=a) == {}


async def test_lists_and_refusals_say_whose_an_event_is(shared: TwoApps) -> None:
    """The list has the app's own events, and counts the others."""
    a, b = shared.a, shared.b
    await a.poison("alice", 3)
    assert "another app" not in (await a.run("poison", "list")).out
    large = await b.poison("bob", 8, LARGE)
    message = await b.poison("bob", 9)
    listed = await a.run("poison", "list", "--fresh")
    assert f"1 message of {a.identity.app}, as of" in listed.out
    assert f"2 messages of another app were left alone: {b.identity.app}" in listed.out
    assert "bob" not in listed.out
    ended = await a.run("poison", "list", "--json")
    found = list(map(json.loads, ended.out.splitlines()))
    assert [(each["own"], each["body_state"]) for each in found] == [(True, "queue")]
    assert f"2 messages of another app were left alone: {b.identity.app}" in ended.err
    shown = await a.run("poison", "show", message.id)
    assert (json.loads(shown.out)["body"], shown.code) == (message.body, 0)
    assert f"another app, {b.identity.app}" in shown.err
    shown = await a.run("poison", "show", large.id)
    assert (json.loads(shown.out)["body_state"], shown.code) == ("other app", 1)
    assert "show it with the settings of that app" in shown.err
    for command in (("redrive", "--id"), ("poison", "discard", "--reason", "r")):
        refused = await a.run(*command, message.id)
        assert refused.code == 1
        assert f"belongs to the app {b.identity.app}, not to this app" in refused.err
    count = await poison_count(await a.wiring.queue(), a.identity)
    assert count is not None
    assert (count.own, count.of_others, count.is_whole) == (1, 2, True)
    plan = json.loads((await a.run("redrive", "--dry-run", "--json")).out)
    assert (plan["events"], plan["other_apps"]) == (1, {b.identity.app: 2})


async def test_event_of_two_apps_is_redriven_and_discarded_by_its_own(
    common: dict[str, str], tmp_path: Path
) -> None:
    """Two consumer groups read one hub, so that both apps' messages have the same id."""
    a, b = SHARED_QUEUE["group"]
    async with two_apps(common, tmp_path, a=a, b=b) as apps:
        theirs = await apps.b.poison("alice", 1)
        await apps.b.poison("alice", 2)
        before = await apps.snapshot()
        for number in (1, 2):
            await apps.a.poison("alice", number)
        assert (await apps.a.run("poison", "discard", theirs.id, "--reason", "a test")).code == 0
        assert (await apps.a.run("redrive", "--id", "0/2/1700000000002")).code == 0
        assert apps.a.handled == ["alice 2"]
        changes = before.changes(await apps.snapshot(), of=apps.a)
        (record,) = changes
        assert f"/discarded/{apps.a.identity}/0/1/" in record


async def test_apps_with_queues_of_their_own_share_one_redis(
    common: dict[str, str], tmp_path: Path
) -> None:
    """A plain redrive runs none of B's parked events, and puts none into A's queue."""
    async with two_apps(
        common,
        tmp_path,
        a={"EVENT_HUB_NAME": "events", "POISON_QUEUE": "poison-a"},
        b={"EVENT_HUB_NAME": "audit", "POISON_QUEUE": "poison-b"},
    ) as apps:
        a, b = apps.a, apps.b
        await leave_everything(b)
        before = await apps.snapshot()
        await a.park("alice", 3)
        ended = await a.run("redrive")
        assert (ended.code, a.handled) == (0, ["alice 3", "alice 4"])
        assert "another app" not in ended.out
        assert before.changes(await apps.snapshot(), of=a) == {}
        assert json.loads((await b.run("redrive", "--json")).out)["replayed"] == 4
