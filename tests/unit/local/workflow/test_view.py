"""The public view of runs, and the conversion of bodies."""

from __future__ import annotations

import base64
import json

import pytest

from local.workflow.definition.status import Status
from local.workflow.runs.content import decode, encode
from local.workflow.runs.record import ActionRecord, RunRecord
from local.workflow.view import view

EVENT = {"type": "breakwater.circuit.opened", "data": {"name": "b", "generation": 2}}


def run_of(body: object) -> RunRecord:
    return RunRecord("d", {"headers": {}, "body": body}, 0.0)


def waiting() -> ActionRecord:
    return ActionRecord("W", "HttpWebhook", Status.RUNNING, 60.0, callback="c")


@pytest.mark.parametrize(
    "body",
    [EVENT, decode(json.dumps(EVENT).encode(), "application/cloudevents+json; charset=utf-8")],
)
def test_a_run_shows_its_opening(body: object) -> None:
    shown = view(run_of(body))
    assert (shown["circuit"], shown["generation"], shown["state"]) == ("b", 2, "Running")


@pytest.mark.parametrize("body", [None, "text", [1], {"data": 1}, {"$content": "%"}])
def test_a_run_without_an_opening_is_shown(body: object) -> None:
    shown = view(run_of(body))
    assert (shown["circuit"], shown["generation"]) == (None, None)


def test_state_and_detail_tell_how_far_the_approval_is() -> None:
    run = run_of(EVENT)
    record = run.actions["W"] = waiting()
    shown = [view(run)["steps"][0]["detail"]]
    assert view(run)["state"] == "WaitingForApproval"
    record.error = "HTTP 503"
    shown.append(view(run)["steps"][0]["detail"])
    record.error, record.subscribed = "", True
    shown.append(view(run)["steps"][0]["detail"])
    record.answer = {"headers": {}, "body": {"by": "ann"}}
    record.status = run.status = Status.SUCCEEDED
    [step] = view(run)["steps"]
    assert [*shown, step["detail"]] == ["", "HTTP 503", "waiting for the callback", "by ann"]
    assert view(run)["state"] == "Succeeded"
    assert step["at"] == "1970-01-01T00:01:00+00:00"


def test_the_view_has_no_secret_and_no_content() -> None:
    run = run_of(EVENT | {"data": {"name": "b", "generation": 2, "x": "content"}})
    run.actions["W"] = waiting()
    run.actions["W"].outputs = {"body": "content"}
    text = json.dumps(view(run))
    assert run.sig not in text
    assert "content" not in text


def test_a_body_is_decoded_by_its_type() -> None:
    assert decode(b'{"a": 1}', "application/json; charset=utf-8") == {"a": 1}
    assert decode(b"", "application/json") is None
    assert decode(b"abc", "text/html") == "abc"
    assert decode(b"", "") is None
    assert decode(b"\0", "") == {
        "$content-type": "application/octet-stream",
        "$content": base64.b64encode(b"\0").decode(),
    }
    with pytest.raises(ValueError, match="Expecting"):
        decode(b"{", "application/json")


def test_a_body_is_encoded_by_its_value() -> None:
    assert encode(None, {"a": "b"}) == (None, {"a": "b"})
    assert encode({"a": 1}, {}) == (b'{"a": 1}', {"content-type": "application/json"})
    assert encode("x", {"Content-Type": "text/csv"}) == (b"x", {"Content-Type": "text/csv"})
