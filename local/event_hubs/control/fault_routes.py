"""The fault routes of the control port.

Each route accepts a JSON object and returns the number of affected objects, or the duration.

POST /faults/detach     {"hub", "partition", "consumerGroup", "condition", "description"}
POST /faults/drop       {"hub", "politely": false}: connections; all connections without a hub
POST /faults/refuse     {"hub", "seconds": 5, "condition", "description"}: new links and
                        publications; without a hub, new connections
POST /faults/delay      {"milliseconds": 100, "seconds": 5}: all output on all connections
POST /faults/throttle   {"hub", "seconds": 5, "eventsPerSecond": 0}
POST /faults/slow-down  {"hub", "seconds": 5, "eventsPerSecond": 0}: the rate of each receiver,
                        without an error, as the service limits egress
POST /faults/lose-acknowledgements  {"hub", "publications": 1}
POST /faults/redeliver  {"hub", "partition", "events": 100}
POST /faults/shift-clock  {"seconds": -5}: sets the broker's clock back
POST /faults/steal      {"hub", "partition", "consumerGroup": "$Default", "seconds": 0}
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.event_hubs.config import DEFAULT_GROUP, ConfigError
from local.event_hubs.control import json_body
from local.event_hubs.control.faults import Faults

type Body = dict[str, Any]


class FaultRoutes:
    """The routes that inject faults. Faults with a duration return the duration in seconds."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.routes = [
            Route(f"/faults/{name}", _endpoint(fault), methods=["POST"])
            for name, fault in (
                ("detach", self._detach),
                ("drop", self._drop),
                ("refuse", self._refuse),
                ("delay", self._delay),
                ("throttle", self._throttle),
                ("slow-down", self._slow_down),
                ("lose-acknowledgements", self._lose_acknowledgements),
                ("redeliver", self._redeliver),
                ("shift-clock", self._shift_clock),
                ("steal", self._steal),
            )
        ]

    def _detach(self, body: Body) -> Body:
        count = self._faults.detach_links(
            _hub(body),
            partition=json_body.partition(body),
            group=body.get("consumerGroup"),
            error=json_body.error(body),
        )
        return {"detached": count}

    def _drop(self, body: Body) -> Body:
        count = self._faults.drop_connections(
            body.get("hub"), politely=bool(body.get("politely", False))
        )
        return {"dropped": count}

    def _refuse(self, body: Body) -> Body:
        seconds = json_body.number(body, "seconds", 5)
        if "hub" in body:
            self._faults.refuse(_hub(body), seconds, error=json_body.error(body))
        else:
            self._faults.refuse_connections(seconds)
        return {"seconds": seconds}

    def _delay(self, body: Body) -> Body:
        seconds = json_body.number(body, "seconds", 5)
        self._faults.delay(json_body.number(body, "milliseconds", 100), seconds)
        return {"seconds": seconds}

    def _throttle(self, body: Body) -> Body:
        seconds = json_body.number(body, "seconds", 5)
        rate = json_body.number(body, "eventsPerSecond", 0)
        self._faults.throttle(_hub(body), seconds, events_per_second=rate)
        return {"seconds": seconds}

    def _slow_down(self, body: Body) -> Body:
        seconds = json_body.number(body, "seconds", 5)
        rate = json_body.number(body, "eventsPerSecond", 0)
        self._faults.slow_down(_hub(body), seconds, events_per_second=rate)
        return {"seconds": seconds}

    def _lose_acknowledgements(self, body: Body) -> Body:
        publications = json_body.integer(body, "publications", 1)
        self._faults.lose_acknowledgements(_hub(body), publications)
        return {"publications": publications}

    def _redeliver(self, body: Body) -> Body:
        count = self._faults.redeliver(
            _hub(body),
            json_body.integer(body, "events", 100),
            partition=json_body.partition(body),
        )
        return {"redelivered": count}

    def _shift_clock(self, body: Body) -> Body:
        return {"offset": self._faults.shift_clock(json_body.signed(body, "seconds"))}

    def _steal(self, body: Body) -> Body:
        partition = json_body.partition(body)
        if partition is None:
            raise ConfigError("partition is missing")
        displaced = self._faults.steal(
            _hub(body),
            partition,
            group=str(body.get("consumerGroup", DEFAULT_GROUP)),
            seconds=json_body.number(body, "seconds", 0),
        )
        return {"displaced": displaced}


def _endpoint(fault: Callable[[Body], Body]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return JSONResponse(fault(await json_body.read_body(request)))

    return answer


def _hub(body: Body) -> str:
    return str(body.get("hub", ""))
