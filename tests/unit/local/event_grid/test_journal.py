"""The journal of a topic, which keeps accepted events across a restart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from starlette.responses import Response

from local.event_grid import journal as journal_module
from local.event_grid.events import GridEvent, Schema
from local.event_grid.journal import Journal
from local.event_grid.schedule import RetrySchedule
from local.event_grid.subscription import Subscription
from local.event_grid.topic import Topic
from local.event_grid.webhook import Webhook
from tests.support.local.fakes import FakeTime, Receiver, until

HOOK = Subscription("hook", "http://hook/path?code=secret", frozenset({"made"}))
OTHER = Subscription("other", "http://other/", schema=Schema.EVENT_GRID)


def event(event_id: str = "1") -> GridEvent:
    payload = {"specversion": "1.0", "id": event_id, "source": "/b", "type": "made", "data": [1]}
    return GridEvent(event_id, "made", "", payload, Schema.CLOUD_EVENTS)


async def never_ends(_seconds: float) -> None:
    await asyncio.Event().wait()


class Process:
    """A topic with a journal file and a subscriber that answers with `status`."""

    def __init__(
        self, path: Path, status: int, sleep: Callable[[float], Awaitable[None]] = never_ends
    ) -> None:
        self.time = FakeTime()
        self.receiver = Receiver(lambda _request, _body: Response(status_code=status))
        self.topic = Topic(
            *("breakwater", "key", Webhook(self.receiver.client())),
            schedule=RetrySchedule(),
            journal=Journal(path),
            clock=self.time.clock,
            sleep=sleep,
        )

    def statuses(self) -> list[str]:
        return [d["status"] for e in self.topic.events() for d in e["deliveries"]]

    async def attempted(self, count: int) -> None:
        await until(
            lambda: (
                sum(d["attempts"] for e in self.topic.events() for d in e["deliveries"]) == count
            )
        )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


async def test_pending_events_are_delivered_once_after_a_restart(path: Path) -> None:
    first = Process(path, 503)
    await first.topic.subscribe(HOOK, validated=True)
    first.topic.publish([event("1"), event("2")])
    await first.attempted(2)
    # The first process is killed, so its topic is not closed.
    second = Process(path, 200)
    second.topic.resume()
    await until(lambda: second.statuses() == ["delivered"] * 2)
    assert [json.loads(body)["id"] for *_, body in second.receiver.requests] == ["1", "2"]
    third = Process(path, 200)
    third.topic.resume()
    assert third.topic.events() == []
    for process in (first, second, third):
        await process.topic.aclose()


async def test_subscriptions_are_restored_with_filter_and_schema(path: Path) -> None:
    first = Process(path, 200)
    for subscription in (HOOK, OTHER):
        await first.topic.subscribe(subscription, validated=True)
    first.topic.unsubscribe("other")
    await first.topic.aclose()
    assert Journal(path).subscriptions() == [HOOK]


async def test_removing_a_subscription_removes_its_pending_deliveries(path: Path) -> None:
    first = Process(path, 503)
    for subscription in (HOOK, OTHER):
        await first.topic.subscribe(subscription, validated=True)
    first.topic.publish([event()])
    await first.attempted(2)
    first.topic.unsubscribe("hook")
    await first.topic.aclose()
    assert [delivery.waiting for delivery in Journal(path).pending()] == [("other",)]


async def test_an_event_keeps_its_age_after_a_restart(path: Path) -> None:
    first = Process(path, 503)
    await first.topic.subscribe(HOOK, validated=True)
    first.topic.publish([event()])
    await first.attempted(1)
    await first.topic.aclose()
    second = Process(path, 503)
    await second.time.sleep(24 * 3600)
    second.topic.resume()
    await until(lambda: second.statuses() == ["dead_lettered"])
    await second.topic.aclose()
    assert Journal(path).pending() == []


async def test_a_truncated_line_is_ignored(path: Path) -> None:
    journal = Journal(path)
    journal.subscribed(HOOK)
    journal.accepted("key", event(), 5.0, ["hook"])
    journal.close()
    with path.open("a") as file:
        file.write('{"ended": "key", "subscr')
    (delivery,) = Journal(path).pending()
    assert (delivery.event, delivery.received_at) == (event(), 5.0)


def test_journal_is_compacted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_SLACK", 20)
    journal = Journal(path)
    journal.subscribed(HOOK)
    for number in range(200):
        journal.accepted(str(number), event(), 0, ["hook"])
        journal.ended(str(number), "hook")
    journal.close()
    assert len(path.read_text().splitlines()) < 30
    assert path.stat().st_mode & 0o777 == 0o600  # the file contains the endpoint's secret
    assert Journal(path).subscriptions() == [HOOK]
