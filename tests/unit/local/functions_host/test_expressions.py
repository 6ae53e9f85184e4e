"""Binding expressions, and the values of triggers that they name."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from local.functions_host.bindings.errors import BindingFailedError
from local.functions_host.bindings.expressions import Template
from local.functions_host.bindings.trigger_data import trigger_data
from local.functions_host.triggers.event_hubs.encoding import encode_one
from local.functions_host.triggers.event_hubs.event import ReceivedEvent
from local.functions_host.triggers.http.endpoints import http_datum
from local.functions_host.triggers.queue import queue_invocation
from local.functions_host.worker.functions import Function
from local.functions_host.worker.worker import Datum

DATA = {"name": "a", "count": 3, "data": {"Url": "u", "deep": {"x": True}}, "headers": {"X-Id": 7}}


def _now() -> datetime:
    return datetime(2026, 11, 29, 5, 47, 28, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "resolved"),
    [
        ("orders/plain.txt", "orders/plain.txt"),
        ("{name}/{NAME}-{count}", "a/a-3"),
        ("{data.url}/{data.deep.X}", "u/True"),
        ("{headers.x-id}", "7"),
        ("{{name}}", "{name}"),
        ("{DateTime}", "2026-11-29T05-47-28Z"),
        ("{sys.utcnow:yyyy/MM/dd HH}", "2026/11/29 05"),
    ],
)
def test_expressions_take_values_by_name_in_any_case(text: str, resolved: str) -> None:
    assert Template(text, "function 'f'").resolve(DATA, _now) == resolved


def test_a_value_of_the_trigger_replaces_a_built_in_one() -> None:
    data = {"datetime": "mine", "sys": {"methodname": "f"}}
    assert Template("{datetime}/{sys.MethodName}", "f").resolve(data) == "mine/f"


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("{rand-guid}", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        ("{rand-guid:N}", r"[0-9a-f]{32}"),
        ("{sys.randguid}", r"[0-9a-f-]{36}"),
    ],
)
def test_each_random_guid_is_new(text: str, pattern: str) -> None:
    template = Template(text, "f")
    first, second = template.resolve({}), template.resolve({})
    assert first != second

    assert re.fullmatch(pattern, first)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{other}", "No value for named parameter 'other'."),
        ("{data.none}", "No value for named parameter 'data.none'."),
        ("{name.part}", "No value for named parameter 'name.part'."),
        ("{data}", "is an object or an array"),
    ],
)
def test_a_missing_value_is_named(text: str, error: str) -> None:
    with pytest.raises(BindingFailedError, match=error):
        Template(text, "f").resolve(DATA)


def _function(kind: str) -> Function:
    return Function("f", "id", {"type": kind, "name": "x"}, (), None)


def _resolved(function: Function, datum: Datum, metadata: dict[str, Datum], text: str) -> str:
    return Template(text, "f").resolve(trigger_data(function, datum, metadata))


def test_a_queue_message_provides_its_text_metadata_and_properties() -> None:
    invocation = queue_invocation(
        b'{"Id": "mine", "customer": {"name": "eve"}, "n": 1}', "m1", 2, ""
    )
    found = (invocation.datum, invocation.metadata)
    function = _function("queueTrigger")
    assert _resolved(function, *found, "{id}/{customer.Name}/{n}/{DequeueCount}") == "mine/eve/1/2"
    plain = queue_invocation(b"report.txt", "m1", 1, "")
    assert (
        _resolved(function, plain.datum, plain.metadata, "{queueTrigger}/{id}") == "report.txt/m1"
    )


def test_a_request_provides_route_query_headers_and_body() -> None:
    datum = http_datum(
        "POST",
        "/api/f",
        b'{"kind": "body", "id": "body"}',
        headers={"x-trace": "h"},
        query={"id": "query", "file": "q"},
        parameters={"id": "route"},
    )
    text = "{id}/{file}/{kind}/{Query.id}/{headers.X-Trace}"
    assert _resolved(_function("httpTrigger"), datum, {}, text) == "route/q/body/query/h"


def test_an_event_provides_its_metadata_and_the_properties_of_a_text() -> None:
    event = ReceivedEvent(
        b'{"order": "o1"}',
        {"x-opt-sequence-number": 5, "x-opt-partition-key": "k"},
        {"run": "r"},
    )
    function = _function("eventHubTrigger")
    place = '{"PartitionId":"3"}'
    text = "{SequenceNumber}/{PartitionKey}/{Properties.run}/{PartitionContext.PartitionId}"
    assert _resolved(function, *encode_one(event, "", place), f"{text}/{{order}}") == "5/k/r/3/o1"
    assert _resolved(function, *encode_one(event, "binary", place), text) == "5/k/r/3"


def test_an_event_of_event_grid_provides_its_properties_and_data() -> None:
    event = Datum('{"subject": "s", "data": {"url": "u"}}', "json")
    metadata: dict[str, Any] = {"data": Datum('{"url": "u"}', "json")}
    assert (
        _resolved(_function("eventGridTrigger"), event, metadata, "{subject}/{data.url}") == "s/u"
    )


@pytest.mark.parametrize("text", ["", "no JSON", "[1]", "{broken", '{"a": [1], "b": null}'])
def test_a_text_without_properties_provides_none(text: str) -> None:
    data = trigger_data(_function("queueTrigger"), Datum(text, "string"), {})
    assert data == {"queuetrigger": text, "sys": {"methodname": "f"}}
