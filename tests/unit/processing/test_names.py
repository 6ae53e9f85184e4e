"""Azure's rules for the names of queues, containers, hubs and consumer groups."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from breaker.configuration.resource_names import queue_name
from processing.errors import SettingsError
from processing.settings import ConnectionSettings

COMPLETE = {
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "EventHubConnection": "Endpoint=sb://x;SharedAccessKeyName=n;SharedAccessKey=k",
    "EVENT_HUB_NAME": "events",
    "REDIS_URL": "redis://h",
}
QUEUES = "3 to 63 lower-case letters, digits and single hyphens"
HUBS = "letters, digits, '.', '-' and '_', at most 256"
GROUPS = "letters, digits, '.', '-' and '_', at most 50"


@pytest.mark.parametrize(
    ("setting", "name", "takes"),
    [
        *(
            ("POISON_QUEUE", name, QUEUES)
            for name in (
                *("Poison_Queue", "Poison", "poison--q", "-poison", "poison-", "ab", "p" * 64),
                *("poison.q", "poison q", "pöison", "$logs", '"poison', "poison\nq"),
            )
        ),
        *(
            ("EVENT_HUB_NAME", name, HUBS)
            for name in ("e" * 257, "two words", "hub/x", "$hub", "-hub", '"hub')
        ),
        *(
            ("EVENT_HUB_CONSUMER_GROUP", name, GROUPS)
            for name in ("g" * 51, "two words", "group/x", "$Other", "group-", '"$Default')
        ),
    ],
)
def test_name_that_azure_refuses_is_refused_at_start(setting: str, name: str, takes: str) -> None:
    """Otherwise each request about the queue, the hub or the group would fail."""
    expected = rf"the app setting {setting} is {re.escape(f'{name!r:.100}')}; it takes {takes}"
    with pytest.raises(SettingsError, match=expected):
        ConnectionSettings.from_mapping(COMPLETE | {setting: name})


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        ("POISON_QUEUE", ["poison", "abc", "0-9", "p" * 63, " poison\n", ""]),
        ("EVENT_HUB_NAME", ["e" * 256, "Events", "a.b_c-d", "0"]),
        ("EVENT_HUB_CONSUMER_GROUP", ["$Default", "$default", "g" * 50, "a.b_c-d", ""]),
    ],
)
def test_name_that_azure_accepts_is_accepted(setting: str, names: list[str]) -> None:
    """An empty name means the default."""
    for name in names:
        ConnectionSettings.from_mapping(COMPLETE | {setting: name})


@given(st.text(string.ascii_letters + string.digits + "-_.", max_size=66))
@example("a-b-c")
def test_accepted_queue_names_follow_the_documented_rule(name: str) -> None:
    """The rule is written again here, as Microsoft documents it."""
    follows = (
        3 <= len(name) <= 63
        and set(name) <= set(string.ascii_lowercase + string.digits + "-")
        and not {name[0], name[-1]} & {"-"}
        and "--" not in name
    )
    try:
        accepted = queue_name(name) == name
    except ValueError:
        accepted = False
    assert accepted == follows
