"""Tools of one pipeline beside another of the same app: what is not theirs stays (C15)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from tests.conftest import EventHubsEndpoint
from tests.integration.processing.redrive.test_other_apps import ANY, TOOLS, leave_everything
from tests.support.patience import STORE_SECONDS
from tests.support.processing.two_apps import LARGE, TwoApps, two_pipelines

type Values = Mapping[str, str]

SHARED: dict[str, Values] = {
    "two hubs": {"PIPELINE_AUDIT_EVENT_HUB_NAME": "audit"},
    "one hub": {"PIPELINE_AUDIT_EVENT_HUB_CONSUMER_GROUP": "audit"},
}
"""The own settings of the second pipeline; both pipelines write to one poison queue."""
OVERVIEWS = ("list", "list as JSON", "parked list")
SHORT = ("discard", "redrive of an event", "redrive of a key", "redrive", "drop-mark")


@pytest.fixture(params=["two hubs", pytest.param("one hub", marks=pytest.mark.long)])
async def shared(
    request: pytest.FixtureRequest,
    redis_url: str,
    azurite: str,
    event_hubs: EventHubsEndpoint,
    tmp_path: Path,
) -> AsyncIterator[TwoApps]:
    """Yield two pipelines of an app, with one poison queue."""
    settings = {
        "REDIS_URL": redis_url,
        "AzureWebJobsStorage": azurite,
        "EventHubConnection": event_hubs.connection_string,
        "BREAKER_STORE_TIMEOUT_SECONDS": f"{STORE_SECONDS}",
        "EVENT_HUB_NAME": "events",
        **SHARED[request.param],
    }
    async with two_pipelines(settings, tmp_path, one_queue=True) as pipelines:
        yield pipelines


@pytest.mark.parametrize("names", [SHORT, pytest.param(tuple(TOOLS), marks=pytest.mark.long)])
async def test_no_tool_changes_what_is_another_pipelines(
    names: tuple[str, ...], shared: TwoApps
) -> None:
    """Redis, queue and blobs are as before, and the other pipeline's own redrive works then."""
    orders, audit = shared.a, shared.b
    message = await leave_everything(audit)
    ids = {"id": message.id, "end": "/".join(message.id.split("/")[-3:])}
    before = await shared.snapshot()
    wrong: dict[str, object] = {}
    for name in names:
        arguments, code = TOOLS[name]
        ended = await orders.run(*(each.format_map(ids) for each in arguments))
        if code not in (ANY, ended.code):
            wrong[f"{name}: exit code {ended.code}"] = ended
        if changes := before.changes(await shared.snapshot(), of=orders):
            wrong[name] = changes
    assert wrong == {}
    assert orders.handled == []
    ended = await audit.run("redrive", "--json")
    assert json.loads(ended.out)["replayed"] == 4, ended
    assert sorted(audit.handled) == ["None 8", "alice 1", "alice 2", "alice 7"]


async def test_redrive_of_one_pipeline_leaves_the_others_events(shared: TwoApps) -> None:
    """Both pipelines have poisoned and parked events of one key."""
    orders, audit = shared.a, shared.b
    await leave_everything(audit)
    before = await shared.snapshot()
    await orders.park("alice", 1, LARGE)
    await orders.poison("alice", 7)
    ended = await orders.run("redrive", "--key", "alice")
    assert ended.code == 0, ended
    assert sorted(orders.handled) == ["alice 1", "alice 2", "alice 7"]
    assert audit.handled == []
    assert before.changes(await shared.snapshot(), of=orders) == {}


async def test_tool_without_a_pipeline_changes_nothing(shared: TwoApps) -> None:
    """The refusal names the pipelines."""
    orders, audit = shared.a, shared.b
    await orders.park("bob", 3)
    message = await leave_everything(audit)
    names = {"id": message.id, "end": "/".join(message.id.split("/")[-3:])}
    before = await shared.snapshot()
    for name, (arguments, _) in TOOLS.items():
        if name.removesuffix(" of a dependency") in OVERVIEWS:
            continue
        ended = await shared.run(*(each.format_map(names) for each in arguments))
        assert (name, ended.code, ended.out) == (name, 2, "")
        assert "add --pipeline with one of orders, audit" in ended.err
    assert before.changes(await shared.snapshot(), of=None) == {}


async def test_overviews_name_the_pipeline_of_each_line(shared: TwoApps) -> None:
    orders, audit = shared.a, shared.b
    await orders.poison("alice", 1)
    await audit.park("bob", 2)
    for arguments, keys in (
        (("poison", "list"), {"orders": "alice", "audit": "bob"}),
        (("parked", "list"), {"audit": "bob"}),
    ):
        ended = await shared.run(*arguments, "--json")
        lines = map(json.loads, ended.out.splitlines())
        assert {line["pipeline"]: line["key"] for line in lines} == keys
        text = (await shared.run(*arguments)).out
        first, second = text.split("\n\nPipeline audit\n")
        assert first.startswith("Pipeline orders\n")
        assert "'bob'" in second
        assert "'bob'" not in first


async def test_refusal_says_which_pipeline_has_the_event(shared: TwoApps) -> None:
    orders, audit = shared.a, shared.b
    message = await audit.poison("bob", 9)
    ended = await orders.run("redrive", "--id", message.id)
    assert ended.code == 1
    assert ended.err.startswith("breakwater: pipeline orders: ")
    assert f"belongs to the app {audit.identity.app}, not to this app" in ended.err
    assert "choose the pipeline audit" in ended.err
    large = await audit.poison("bob", 10, LARGE)
    shown = await orders.run("poison", "show", large.id)
    assert "show it with the settings of that app and --pipeline audit" in shown.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("redrive", "--id", "9/9/9"), "id '9/9/9'"),
        (("redrive", "--key", "bob"), "key 'bob'"),
        (("redrive", "--key", "bob", "--dry-run"), "key 'bob'"),
    ],
)
async def test_redrive_of_an_event_that_the_pipeline_does_not_have_is_an_error(
    shared: TwoApps, arguments: tuple[str, ...], named: str
) -> None:
    """An operator with the wrong pipeline or a misspelled name must not see a success."""
    orders, audit = shared.a, shared.b
    await audit.poison("bob", 9)
    ended = await orders.run(*arguments)
    assert ended.code == 1, ended
    assert (
        f"breakwater: pipeline orders: no poisoned, parked or deferred event has the {named}"
        in ended.err
    )
    assert "`poison list --pipeline orders` and `parked list --pipeline orders`" in ended.err
    assert (await orders.run("redrive")).code == 0, "nothing waits, and nothing is named"


async def test_search_for_a_message_says_how_to_list_those_of_its_pipeline(shared: TwoApps) -> None:
    ended = await shared.a.run("poison", "show", "9/9/9")
    assert (ended.code, "`poison list --pipeline orders` lists the ids" in ended.err) == (1, True)
