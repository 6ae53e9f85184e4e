"""PoisonMessage, which holds the whole event and its failure."""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processing.formats.cut import beginning, end, short_key
from processing.handlers.retry import Failure, FailureKind
from processing.poison.claim_checks import with_body
from processing.poison.error_detail import ErrorDetail
from processing.poison.memory import MemoryClaimChecks
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
            handler="m:h",
            circuit_generation=2,
            instance="host:1",
        )


def test_json_has_all_fields_of_event_and_failure() -> None:
    """An operator can understand and replay the event from these fields alone."""
    found = json.loads(
        message(properties={"n": 1}, system_properties={"content-type": "avro/binary"}).to_json()
    )
    assert "nothing there" in found["error"].pop("traceback")
    assert [frame.partition(":")[0] for frame in found.pop("frames")] == [
        "tests/unit/processing/poison/test_message.py"
    ]
    assert found == {
        "version": 3,
        "id": "ns.example.net/events/0/7/1700000000007",
        "namespace": "ns.example.net",
        "hub": "events",
        "consumer_group": "$default",
        "pipeline": "default",
        "key": "k",
        "body": "eA==",
        "properties": {"n": 1},
        "system_properties": {"content-type": "avro/binary"},
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


def old_message(version: int) -> dict[str, Any]:
    """Return a message as version 0.1 wrote it: the names as configured, no namespace."""
    found: dict[str, Any] = json.loads(message().to_json())
    for name in ("namespace", "hub", "consumer_group", "pipeline", "system_properties"):
        del found[name]
    if version == 1:
        del found["redrives"], found["parked"]
    return found | {"version": version, "id": "Events/$Default/0/7/1700000000007"}


@pytest.mark.parametrize("version", [1, 2])
def test_messages_of_version_0_1_can_be_read(version: int) -> None:
    """The reader's namespace is used, because these messages do not name theirs."""
    text = json.dumps(old_message(version))
    assert PoisonMessage.from_json(text, namespace="NS.example.net:5671") == message()


def test_frames_are_optional_in_version_3() -> None:
    """Earlier writers left them out; earlier readers ignore them, but no field inside `error`."""
    found = json.loads(message().to_json())
    del found["frames"]
    assert found["error"].keys() == {"type", "message", "traceback"}
    read = PoisonMessage.from_json(json.dumps(found))
    assert read == replace(message(), error=replace(message().error, frames=()))
    assert len(PoisonMessage.from_json(message().to_json()).error.frames) == 1


@pytest.mark.parametrize("id_", ["7", "events/0/7/1700000000007", "events/g/0/7/soon", 7])
def test_old_message_with_an_edited_id_is_refused(id_: object) -> None:
    """The id of version 0.1 names hub and consumer group."""
    with pytest.raises(ValueError, match="not a poison message: its id"):
        PoisonMessage.from_json(json.dumps(old_message(2) | {"id": id_}))


def test_numbers_that_json_does_not_know_become_text() -> None:
    """A strict reader accepts the message. .NET writes these numbers in the same way."""
    odd = {"t": float("nan"), "u": float("inf"), "v": -float("inf"), "w": 2**63, "x": 12.5}

    def refuse(name: str) -> None:
        raise AssertionError(name)

    found = json.loads(message(properties=odd).to_json(), parse_constant=refuse)["properties"]
    assert found == {"t": "NaN", "u": "Infinity", "v": "-Infinity", "w": 2**63, "x": 12.5}


def _cycle() -> dict[str, Any]:
    found: dict[str, Any] = {}
    found["self"] = found
    return found


class Broken:
    """An object whose text raises an error."""

    def __str__(self) -> str:
        raise RuntimeError("broken")


def _deep() -> list[Any]:
    found: list[Any] = []
    for _ in range(5_000):
        found = [found]
    return found


@pytest.mark.parametrize(
    "value",
    [
        threading.Lock(),
        {b"bytes": 1},
        {None: 1, 2: [3]},
        _cycle(),
        Broken(),
        [float("nan"), {"deep": float("inf")}],
        _deep(),
        10**5_000,
    ],
    ids=[
        "lock",
        "bytes as name",
        "odd names",
        "cycle",
        "broken text",
        "nested nan",
        "deep",
        "long",
    ],
)
def test_property_that_json_does_not_know_never_stops_its_event(value: Any) -> None:
    """A value that could not be written would keep its event, and so its partition, forever."""
    read = PoisonMessage.from_json(message(properties={"odd": value}).to_json())
    assert "odd" in read.properties
    assert len(read.to_json()) < 60_000


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
        handler="h",
        circuit_generation=0,
        instance="i",
    )
    read = PoisonMessage.from_json(sent.to_json())
    assert read == sent
    assert read.payload == body
    assert read.key == key


TEXTS = st.text() | st.builds(lambda part, times: part * times, st.text(), st.integers(0, 9_000))
FRAMES = st.lists(TEXTS, max_size=12).map(tuple)
PARTS = st.dictionaries(TEXTS, TEXTS | st.integers() | st.floats() | st.none(), max_size=3)


@given(
    st.builds(
        PoisonMessage,
        source=st.just(SOURCE),
        key=st.none() | TEXTS,
        body=st.builds(lambda data: base64.b64encode(data).decode(), st.binary()),
        properties=PARTS,
        system_properties=PARTS,
        sequence_number=st.integers(0, 2**63 - 1),
        offset=TEXTS,
        enqueued_ms=st.integers(0, 2**41),
        error=st.builds(ErrorDetail, TEXTS, TEXTS, TEXTS, FRAMES),
        attempts=st.integers(0, 2**63),
        first_attempt_time=st.just("2023-11-14T22:13:21.500000+00:00"),
        last_attempt_time=st.just("2023-11-14T22:13:21.500000+00:00"),
        handler=TEXTS,
        circuit_generation=st.integers(0, 2**63),
        instance=TEXTS,
        redrives=st.integers(0, 2**63),
        parked=st.booleans(),
    ),
    st.builds(ErrorDetail, TEXTS, TEXTS, TEXTS, FRAMES),
)
async def test_any_message_fits_and_keeps_its_event(
    whole: PoisonMessage, later: ErrorDetail
) -> None:
    """The claim check fits into the queue, and its blob has the whole event after any failure."""
    claims = MemoryClaimChecks()
    stub = whole.with_claim_check(await claims.put(whole))
    blobs = dict(claims.blobs)
    for small in (stub, await claims.shrink(replace(stub, error=later))):
        assert not small.is_large
        read = await with_body(PoisonMessage.from_json(small.to_json()), claims)
        expected = PoisonMessage.from_json(whole.to_json())
        for name in ("body", "key", "offset", "properties", "system_properties", "id"):
            assert getattr(read, name) == getattr(expected, name)
    assert claims.blobs == blobs


@given(TEXTS, st.integers(0, 200))
def test_text_is_cut_at_its_bytes(text: str, most: int) -> None:
    """The cut text is as long as the limit allows, at either end."""
    for cut, joined in (
        (beginning(text, most), text.startswith),
        (end(text, most), text.endswith),
    ):
        assert joined(cut)
        assert len(json.dumps(cut)) - 2 <= most
        assert cut == text or len(json.dumps(cut)) - 2 > most - 12


def test_long_keys_stay_different() -> None:
    """A key that Event Hubs accepts stays as it is."""
    assert short_key("k" * 128) == "k" * 128
    first, second = ("k" * 60_000 + last for last in "ab")
    assert short_key(first) != short_key(second)
    assert short_key(short_key(first)) == short_key(first)
    assert len(short_key(first)) <= 256


def test_properties_without_a_json_form_become_text() -> None:
    """Such a property raises no error."""
    text = message(properties={"b": b"\xff", "s": {1}}).to_json()
    assert json.loads(text)["properties"] == {"b": "\\xff", "s": "{1}"}


def test_long_error_text_is_truncated() -> None:
    """The limit keeps the message small."""
    sent = PoisonMessage.from_failure(
        event(1),
        failed(RuntimeError("x" * 100_000)),
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
        ('{"version": 9}', "version 9; this app reads the versions 1, 2, 3"),
        ('{"version": 1}', "it lacks id"),
        ('{"version": 3}', "it lacks .*attempts"),
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
        {"id": "ns.example.net/events/0/8/1700000000007"},
        {"id": "events/0/7/1700000000007"},
        {"id": "ns.example.net/events/0/7/soon"},
        {"hub": "other"},
        {"consumer_group": None},
        {"system_properties": []},
        {"sequence_number": "7"},
        {"key": 7},
        {"properties": None},
        {"body": "not base64"},
        {"body": None},
        {"error": None},
        {"error": "text"},
        {"error": {"type": "x", "message": "y"}},
        {"error": {"type": "x", "message": None, "traceback": ""}},
        {"frames": None},
        {"frames": ["a.py:1 f", 1]},
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
