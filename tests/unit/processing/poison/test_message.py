"""PoisonMessage, which holds the whole event and its failure."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processing.handlers.retry import Failure, FailureKind
from processing.poison.message import ClaimCheck, PoisonMessage
from tests.support.processing.events import SOURCE, event


def failed(error: Exception) -> Failure:
    return Failure(FailureKind.EXHAUSTED, error, 4, 1_700_000_000.0, 1_700_000_001.5)


def message(body: bytes = b"x", **values: Any) -> PoisonMessage:
    try:
        raise LookupError("nothing there")
    except LookupError as error:
        return PoisonMessage.from_failure(
            event(7, body=body, **values),
            failed(error),
            source=SOURCE,
            handler="m:h",
            circuit_generation=2,
            instance="host:1",
        )


def test_json_has_all_fields_of_event_and_failure() -> None:
    """An operator can understand and replay the event from these fields alone."""
    found = json.loads(message(properties={"n": 1}).to_json())
    assert "nothing there" in found["error"].pop("traceback")
    assert found == {
        "version": 2,
        "id": "events/$Default/0/7/1700000000007",
        "key": "k",
        "body": "eA==",
        "properties": {"n": 1},
        "partition": "0",
        "sequence_number": 7,
        "offset": "700",
        "enqueued_time": "2023-11-14T22:13:20.007000+00:00",
        "error": {"type": "builtins.LookupError", "message": "nothing there"},
        "attempts": 4,
        "first_attempt_time": "2023-11-14T22:13:20+00:00",
        "last_attempt_time": "2023-11-14T22:13:21.500000+00:00",
        "handler": "m:h",
        "circuit_generation": 2,
        "instance": "host:1",
        "claim_check": None,
        "redrives": 0,
        "parked": False,
    }


def test_version_1_can_be_read() -> None:
    """Version 1 has no count of redrives and is read as not yet redriven."""
    found = json.loads(message().to_json())
    del found["redrives"], found["parked"]
    assert PoisonMessage.from_json(json.dumps(found | {"version": 1})) == message()


def test_message_returns_the_poisoned_event() -> None:
    """Body, properties and position are those of the event that was poisoned."""
    sent = event(7, "k/ey", body=b"\xff\x00", properties={"n": 1})
    read = PoisonMessage.from_json(message(b"\xff\x00", properties={"n": 1}).to_json())
    assert replace(read, key="k/ey").event == sent
    assert (read.source, read.enqueued_ms) == (SOURCE, sent.enqueued_ms)


def test_failed_redrive_raises_the_counts() -> None:
    """The message keeps its verdict, because the event is not poisoned a second time."""
    sent = message()
    again = sent.failed_again(failed(ValueError("still")))
    assert (again.redrives, again.attempts) == (1, 8)
    assert again.error.message == "still"
    assert again.verdict == sent.verdict
    assert again.failed_again(failed(ValueError("still"))).redrives == 2


@given(st.binary(max_size=200), st.one_of(st.none(), st.text(max_size=10)))
def test_any_body_and_key_survive_a_round_trip(body: bytes, key: str | None) -> None:
    """JSON text holds any bytes and any characters."""
    event_ = event(1, key, body=body)
    sent = PoisonMessage.from_failure(
        event_,
        failed(RuntimeError()),
        source=SOURCE,
        handler="h",
        circuit_generation=0,
        instance="i",
    )
    read = PoisonMessage.from_json(sent.to_json())
    assert read == sent
    assert read.payload == body
    assert read.key == key


def test_properties_without_a_json_form_become_text() -> None:
    """Such a property raises no error."""
    text = message(properties={"b": b"\xff", "s": {1}}).to_json()
    assert json.loads(text)["properties"] == {"b": "\\xff", "s": "{1}"}


def test_long_error_text_is_truncated() -> None:
    """The limit keeps the message small."""
    sent = PoisonMessage.from_failure(
        event(1),
        failed(RuntimeError("x" * 100_000)),
        source=SOURCE,
        handler="h",
        circuit_generation=0,
        instance="i",
    )
    assert len(sent.to_json()) < 10_000


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("[]", "a JSON list"),
        ('{"version": 9}', "version 9; this app reads the versions 1 and 2"),
        ('{"version": 1}', "it lacks .*attempts"),
    ],
)
def test_text_that_is_no_poison_message_is_refused(text: str, says: str) -> None:
    """The error names what was found."""
    with pytest.raises(ValueError, match=says):
        PoisonMessage.from_json(text)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "7"},
        {"id": 7},
        {"id": "events/$Default/0/8/1700000000007"},
        {"id": "events/0/7/1700000000007"},
        {"id": "events/$Default/0/7/soon"},
        {"sequence_number": "7"},
        {"key": 7},
        {"properties": None},
        {"body": "not base64"},
        {"body": None},
        {"error": None},
        {"error": "text"},
        {"error": {"type": "x", "message": "y"}},
        {"error": {"type": "x", "message": None, "traceback": ""}},
        {"claim_check": {"container": "poison"}},
        {"claim_check": {"container": "poison", "blob": None}},
    ],
    ids=str,
)
def test_poison_message_with_an_edited_field_is_refused(change: dict[str, Any]) -> None:
    """A redrive can report such a message by this error and replay the others."""
    found = json.loads(message().to_json()) | change
    with pytest.raises(ValueError, match="not a poison message"):
        PoisonMessage.from_json(json.dumps(found))


def test_claim_check_has_no_payload_of_its_own() -> None:
    """The error says that the body is in the blob of the claim check."""
    found = json.loads(message().to_json())
    found |= {"body": None, "claim_check": {"container": "poison", "blob": "b"}}
    read = PoisonMessage.from_json(json.dumps(found))
    assert read.claim_check == ClaimCheck("poison", "b")
    with pytest.raises(ValueError, match="claim check"):
        _ = read.payload
