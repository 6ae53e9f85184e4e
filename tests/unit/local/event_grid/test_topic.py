"""Delivery of events to the matching subscriptions, at least once and on the schedule."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from local.event_grid import topic as topic_module
from local.event_grid.errors import BusyError, GridError, NotFoundError, ValidationError
from local.event_grid.events import GridEvent, Schema
from local.event_grid.subscription import Subscription
from local.event_grid.topic import Topic
from local.event_grid.webhook import ORIGIN, Webhook
from tests.support.local.fakes import Answer, FakeTime, Receiver, until

TYPE = "breakwater.circuit.opened"
HOOK = "http://hook/path?code=secret"


def event(kind: str = TYPE, event_id: str = "1") -> GridEvent:
    payload = {"specversion": "1.0", "id": event_id, "source": "/b", "type": kind, "data": {"n": 1}}
    return GridEvent(event_id, kind, "", payload, Schema.CLOUD_EVENTS)


def answers(*statuses: int) -> Answer:
    """Return an endpoint that answers with the statuses in order, and then with the last one."""
    rest: Iterator[int] = iter(statuses[:-1])
    return lambda _request, _body: Response(status_code=next(rest, statuses[-1]))


async def never_ends(_seconds: float) -> None:
    """Wait until the task is cancelled."""
    await asyncio.Event().wait()


def make(
    answer: Answer, sleep: Callable[[float], Awaitable[None]] | None = None
) -> tuple[Topic, Receiver, FakeTime]:
    time, receiver = FakeTime(), Receiver(answer)
    webhook = Webhook(receiver.client())
    topic = Topic("breakwater", "key", webhook, clock=time.clock, sleep=sleep or time.sleep)
    return topic, receiver, time


async def subscribed(topic: Topic, **fields: object) -> None:
    subscription = Subscription("hook", HOOK, **fields)  # type: ignore[arg-type]
    await topic.subscribe(subscription, validated=True)


def delivery(topic: Topic) -> dict[str, object]:
    return topic.events()[-1]["deliveries"][0]  # type: ignore[no-any-return]


async def settled(topic: Topic) -> None:
    await until(lambda: delivery(topic)["status"] != "pending")


async def test_a_delivery_is_a_structured_cloud_event_with_the_services_headers() -> None:
    topic, receiver, _ = make(answers(200))
    await subscribed(topic)
    topic.publish([event()])
    await settled(topic)
    [(method, url, headers, body)] = receiver.requests
    assert (method, url) == ("POST", HOOK)
    assert headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert headers["aeg-event-type"] == "Notification"
    assert headers["aeg-subscription-name"] == "HOOK"
    assert headers["aeg-delivery-count"] == "0"
    assert json.loads(body) == event().payload


async def test_event_grid_subscribers_get_an_array() -> None:
    topic, receiver, _ = make(answers(200))
    await subscribed(topic, schema=Schema.EVENT_GRID)
    topic.publish([event()])
    await settled(topic)
    assert json.loads(receiver.requests[0][3])[0]["eventType"] == TYPE


async def test_failures_are_retried_on_the_schedule_until_success() -> None:
    topic, receiver, time = make(answers(503, 404, 500, 204))
    await subscribed(topic)
    topic.publish([event()])
    await settled(topic)
    assert time.slept == [10, 30, 60]
    assert delivery(topic) == {
        "subscription": "hook",
        "status": "delivered",
        "attempts": 4,
        "last_result": "204",
    }
    counts = [headers["aeg-delivery-count"] for _, _, headers, _ in receiver.requests]
    assert counts == ["0", "1", "2", "3"]


async def test_an_endpoint_that_does_not_answer_is_retried() -> None:
    def refuse(request: Request, body: bytes) -> Response:
        if len(receiver.requests) == 1:
            raise httpx.ConnectError("refused")
        return Response()

    topic, receiver, time = make(refuse)
    await subscribed(topic)
    topic.publish([event()])
    await settled(topic)
    assert time.slept == [10]
    assert delivery(topic)["status"] == "delivered"
    assert delivery(topic)["attempts"] == 2


@pytest.mark.parametrize("status", [400, 401, 403, 413])
async def test_permanent_answers_dead_letter_at_once(status: int) -> None:
    topic, _, time = make(answers(status))
    await subscribed(topic)
    topic.publish([event()])
    await settled(topic)
    assert time.slept == []
    [letter] = topic.dead_letters()
    assert letter["event"]["id"] == "1"
    assert letter["last_result"] == str(status)


async def test_delivery_that_fails_for_a_day_is_dead_lettered() -> None:
    topic, _, time = make(answers(500))
    await subscribed(topic)
    topic.publish([event()])
    await settled(topic)
    assert sum(time.slept) <= 24 * 3600
    assert delivery(topic)["status"] == "dead_lettered"
    assert topic.dead_letters()[0]["reason"] == "no attempts left"


async def test_subscriptions_get_only_their_event_types() -> None:
    topic, receiver, _ = make(answers(200))
    await subscribed(topic, event_types=frozenset({"Breakwater.Circuit.Opened"}))
    topic.publish([event("breakwater.circuit.closed", "other"), event(event_id="wanted")])
    await settled(topic)
    assert [json.loads(body)["id"] for *_, body in receiver.requests] == ["wanted"]
    assert topic.events()[0]["deliveries"] == []


async def test_an_unsubscribed_endpoint_gets_nothing_more() -> None:
    topic, _, _ = make(answers(500), never_ends)
    await subscribed(topic)
    topic.publish([event()])
    await until(lambda: delivery(topic)["attempts"] == 1)
    topic.unsubscribe("hook")
    await settled(topic)
    assert delivery(topic)["status"] == "cancelled"
    with pytest.raises(NotFoundError):
        topic.unsubscribe("hook")


async def test_closing_cancels_pending_deliveries() -> None:
    topic, _, _ = make(answers(500), never_ends)
    await subscribed(topic)
    topic.publish([event()])
    await until(lambda: delivery(topic)["attempts"] == 1)
    await topic.aclose()
    assert delivery(topic)["status"] == "cancelled"


async def test_topic_keeps_a_limited_number_of_events() -> None:
    topic, _, _ = make(answers(200))
    topic.publish([event(event_id=str(n)) for n in range(topic_module.KEPT_EVENTS + 5)])
    events = topic.events()
    assert len(events) == topic_module.KEPT_EVENTS
    assert events[0]["id"] == "5"


async def test_too_many_pending_deliveries_are_refused_as_a_whole() -> None:
    topic, _, _ = make(answers(500))
    await subscribed(topic)
    with pytest.raises(BusyError):
        topic.publish([event()] * (topic_module.MAX_PENDING + 1))
    assert topic.events() == []


def test_only_the_right_key_is_accepted() -> None:
    topic, _, _ = make(answers(200))
    assert topic.accepts_key("key")
    assert not topic.accepts_key("")
    assert not topic.accepts_key("kéy")


@pytest.mark.parametrize("origin", [ORIGIN, "*"])
async def test_a_cloud_events_endpoint_is_validated_by_options(origin: str) -> None:
    def allow(request: Request, body: bytes) -> Response:
        assert request.method == "OPTIONS"
        assert request.headers["webhook-request-origin"] == ORIGIN
        return Response(headers={"webhook-allowed-origin": origin})

    topic, _, _ = make(allow)
    await topic.subscribe(Subscription("hook", HOOK))
    assert topic.subscriptions()[0]["endpoint_base_url"] == "http://hook/path"


@pytest.mark.parametrize(
    "answer",
    [
        lambda _request, _body: Response(status_code=404),
        lambda _request, _body: Response(),
        lambda _request, _body: Response(headers={"webhook-allowed-origin": "elsewhere.net"}),
    ],
)
async def test_an_endpoint_that_fails_validation_gets_no_subscription(answer: Answer) -> None:
    topic, _, _ = make(answer)
    with pytest.raises(ValidationError) as error:
        await topic.subscribe(Subscription("hook", HOOK))
    assert "secret" not in str(error.value)
    assert topic.subscriptions() == []


async def test_an_event_grid_endpoint_is_validated_by_the_returned_code() -> None:
    def echo(request: Request, body: bytes) -> Response:
        assert request.headers["aeg-event-type"] == "SubscriptionValidation"
        [question] = json.loads(body)
        assert question["eventType"] == "Microsoft.EventGrid.SubscriptionValidationEvent"
        return JSONResponse({"validationResponse": question["data"]["validationCode"]})

    topic, _, _ = make(echo)
    await topic.subscribe(Subscription("hook", HOOK, schema=Schema.EVENT_GRID))
    assert len(topic.subscriptions()) == 1


@pytest.mark.parametrize("content", [b"", b"[]", b'{"validationResponse": "wrong"}'])
async def test_a_wrong_code_fails_validation(content: bytes) -> None:
    topic, _, _ = make(lambda _request, _body: Response(content))
    with pytest.raises(ValidationError):
        await topic.subscribe(Subscription("hook", HOOK, schema=Schema.EVENT_GRID))


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ([], "a JSON object"),
        ({"endpoint": HOOK}, "name is None"),
        ({"name": "a b c", "endpoint": HOOK}, "name is 'a b c'"),
        ({"name": "hook", "endpoint": "ftp://x"}, "http or https"),
        ({"name": "hook", "endpoint": "/path"}, "http or https"),
        ({"name": "hook", "endpoint": "http://host:99999/"}, "http or https"),
        ({"name": "hook", "endpoint": "http://[::1/"}, "http or https"),
        ({"name": "hook", "endpoint": "http://xn--ü/"}, "http or https"),
        ({"name": "hook", "endpoint": "http://host/\x7f"}, "http or https"),
        ({"name": "hook", "endpoint": f"http://host/{'a' * 70_000}"}, "http or https"),
        ({"name": "hook", "endpoint": HOOK, "event_types": "x"}, "an array of event types"),
        ({"name": "hook", "endpoint": HOOK, "schema": "XML"}, "CloudEventSchemaV1_0"),
        ({"name": "hook", "endpoint": HOOK, "types": []}, "unknown fields types"),
    ],
)
def test_a_malformed_subscription_is_refused_with_the_reason(value: object, complaint: str) -> None:
    with pytest.raises(GridError, match=complaint):
        Subscription.from_request(value)


def test_a_subscription_hides_its_endpoints_secret() -> None:
    subscription = Subscription.from_request({"name": "hook", "endpoint": HOOK})
    assert "secret" not in repr(subscription)
    assert "secret" not in json.dumps(subscription.as_dict())
