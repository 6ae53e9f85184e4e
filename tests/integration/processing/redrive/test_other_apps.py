"""Tools beside the data of another app: what is not theirs stays as it was found (C15)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from tests.conftest import EventHubsEndpoint
from tests.support.patience import STORE_SECONDS
from tests.support.processing.two_apps import LARGE, TwoApps, two_apps

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


@pytest.fixture(params=sorted(SHARED_QUEUE))
async def shared(
    request: pytest.FixtureRequest, common: dict[str, str], tmp_path: Path
) -> AsyncIterator[TwoApps]:
    """Yield two apps with one poison queue."""
    a, b = SHARED_QUEUE[request.param]
    async with two_apps(common, tmp_path, a=a, b=b) as apps:
        yield apps


async def test_redrive_of_a_key_leaves_the_other_apps_event(shared: TwoApps) -> None:
    """Both apps have a poisoned event of the key; A's redrive handles its own one only."""
    a, b = shared.a, shared.b
    await b.park("alice", 1)
    await b.poison("alice", 7, LARGE)
    before = await shared.snapshot()
    await a.poison("alice", 3)
    ended = await a.run("redrive", "--key", "alice")
    assert ended.returncode == 0, ended.stderr
    assert a.handled == ["alice 3"]
    assert before.changes(await shared.snapshot(), of=a) == {}
