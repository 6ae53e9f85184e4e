"""The topic's HTTP face."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.event_grid.errors import GridError, NotFoundError, TooLargeError, UnauthorizedError
from local.event_grid.events import parse_events
from local.event_grid.subscription import Subscription
from local.event_grid.topic import Topic
from local.web import BodyTooLargeError, error_response, read_body

MAX_BYTES = 1024 * 1024
"""Largest publish request, as on Azure."""

_Handler = Callable[[Topic, Request], Awaitable[Response]]


def topic_routes(topic: Topic) -> list[Route]:
    """Routes of one topic below /topics/{name}; every one of them needs the key."""

    def route(path: str, method: str, handler: _Handler) -> Route:
        return Route(f"/topics/{{topic}}{path}", _guarded(topic, handler), methods=[method])

    return [
        route("/api/events", "POST", _publish),
        route("/events", "GET", _events),
        route("/deadletters", "GET", _dead_letters),
        route("/subscriptions", "GET", _subscriptions),
        route("/subscriptions", "POST", _subscribe),
        route("/subscriptions/{subscription}", "DELETE", _unsubscribe),
    ]


def _guarded(topic: Topic, handler: _Handler) -> Callable[[Request], Awaitable[Response]]:
    """Check name and key, and answer errors in the service's form."""

    async def endpoint(request: Request) -> Response:
        try:
            if request.path_params["topic"].lower() != topic.name:
                raise NotFoundError(f"there is no topic {request.path_params['topic']!r} here")
            key = request.headers.get("aeg-sas-key", "")
            if not topic.takes_key(key):
                what = "not valid for" if key else "missing: send it as aeg-sas-key to"
                raise UnauthorizedError(
                    f"The request authorization key is {what} topic {topic.name}."
                )
            return await handler(topic, request)
        except GridError as error:
            return error_response(error.status, error.code, str(error))

    return endpoint


async def _publish(topic: Topic, request: Request) -> Response:
    body = await _body(request)
    topic.publish(parse_events(request.headers.get("content-type", ""), body))
    return Response(status_code=200)


async def _subscribe(topic: Topic, request: Request) -> Response:
    body = await _body(request)
    try:
        value = json.loads(body)
    except ValueError as error:
        raise GridError(f"the body is not JSON: {error}") from None
    subscription = Subscription.from_request(value)
    await topic.subscribe(subscription)
    return JSONResponse(subscription.as_dict(), status_code=201)


async def _unsubscribe(topic: Topic, request: Request) -> Response:
    topic.unsubscribe(request.path_params["subscription"])
    return Response(status_code=204)


async def _subscriptions(topic: Topic, _: Request) -> Response:
    return JSONResponse({"subscriptions": topic.subscriptions()})


async def _events(topic: Topic, _: Request) -> Response:
    return JSONResponse({"events": topic.events()})


async def _dead_letters(topic: Topic, _: Request) -> Response:
    return JSONResponse({"dead_letters": topic.dead_letters()})


async def _body(request: Request) -> bytes:
    try:
        return await read_body(request, MAX_BYTES)
    except BodyTooLargeError:
        raise TooLargeError(
            f"the request is larger than the {MAX_BYTES} bytes that a topic takes"
        ) from None
