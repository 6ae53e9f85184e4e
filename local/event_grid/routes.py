"""The HTTP routes of a topic."""

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
"""The largest request body, as on Azure."""

_Handler = Callable[[Topic, Request], Awaitable[Response]]


def topic_routes(topic: Topic) -> list[Route]:
    """Return the routes of one topic below /topics/{name}; all routes require the key."""

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
    """Return an endpoint that checks name and key, and returns errors in the service's form."""

    async def endpoint(request: Request) -> Response:
        try:
            if request.path_params["topic"].lower() != topic.name:
                raise NotFoundError(f"topic {request.path_params['topic']!r} does not exist")
            key = request.headers.get("aeg-sas-key", "")
            if not topic.accepts_key(key):
                raise UnauthorizedError(
                    f"The request authorization key is not valid for topic {topic.name}."
                    if key
                    else f"The aeg-sas-key header with the key of topic {topic.name} is missing."
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
            f"the request body is larger than {MAX_BYTES} bytes, the most that a topic accepts"
        ) from None
