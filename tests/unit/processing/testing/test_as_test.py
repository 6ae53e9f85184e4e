"""The source of a test, written from a poison message."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processing.event import Event
from processing.poison.error_detail import ErrorDetail
from processing.poison.message import ClaimCheck, PoisonMessage
from processing.testing.as_test import source_of
from processing.testing.events import event
from processing.testing.running import TestApp
from tests.support.processing.events import event as raw_event
from tests.unit.processing.testing.handlers import handle

NAME = "tests.unit.processing.testing.handlers:handle"


def poisoned(app: TestApp, *events: Event) -> PoisonMessage:
    """Return the message of the first poisoned event."""
    app.run(events)
    stores = app._app._stores
    assert stores is not None
    return stores.poison.messages[0]


def test_written_test_fails_the_way_the_event_did() -> None:
    with TestApp(NAME) as app:
        message = poisoned(app, event("poison", key="a", properties={"n": 1}))
    source = source_of(message)
    assert "PoisonEventError: asked for" in source
    assert "It failed in 1 attempt;" in source
    assert re.search(r"^#   at .*handlers.py:\d+ handle$", source, re.MULTILINE)
    names: dict[str, Any] = {}
    exec(compile(source, "test_written.py", "exec"), names)  # noqa: S102
    tests = [each for name, each in names.items() if name.startswith("test_")]
    with pytest.raises(Exception, match="asked for") as raised:
        tests[0]()
    assert str(raised.traceback[-1].path).endswith("handlers.py")
    assert len(tests) == 1


def test_written_test_passes_once_the_handler_is_corrected() -> None:
    with TestApp(handle) as app:
        message = poisoned(app, event("poison"))
    corrected = replace(message, handler="tests.unit.processing.testing.handlers:charge")
    names: dict[str, Any] = {}
    exec(compile(source_of(corrected), "test_written.py", "exec"), names)  # noqa: S102
    next(each for name, each in names.items() if name.startswith("test_"))()


TEXTS = st.text(max_size=200)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


@given(
    body=st.binary(max_size=300) | TEXTS.map(str.encode),
    key=st.none() | TEXTS,
    properties=st.dictionaries(TEXTS, VALUES, max_size=3),
    error=TEXTS,
    partition=st.from_regex(r"[0-9]{1,3}|[a-z\-\"']{1,5}", fullmatch=True),
)
def test_written_event_is_the_one_of_the_message(
    body: bytes, key: str | None, properties: dict[str, Any], error: str, partition: str
) -> None:
    """Whatever the body, the names and the error's text are."""
    message = PoisonMessage(
        source=replace(raw_event(7).source, partition=partition),
        key=key,
        body=base64.b64encode(body).decode(),
        properties=properties,
        system_properties={"message-id": error},
        sequence_number=7,
        offset=error,
        enqueued_ms=1_700_000_000_007,
        error=ErrorDetail(error, error, "", (error,)),
        attempts=4,
        first_attempt_time="",
        last_attempt_time="2026-11-30T20:00:00+00:00",
        handler=f"m:{error}",
        circuit_generation=0,
        instance=error,
    )
    source = source_of(message)
    assert source.isascii()
    names: dict[str, Any] = {}
    exec(compile(source, "test_written.py", "exec"), names)  # noqa: S102
    found, expected = names["EVENT"], message.event
    for name in ("body", "key", "properties", "system_properties", "offset", "id"):
        assert getattr(found, name) == getattr(expected, name)
    assert names["HANDLER"] == message.handler


def test_message_without_its_body_is_refused() -> None:
    with TestApp(handle) as app:
        message = poisoned(app, event("poison"))
    with pytest.raises(ValueError, match="only a claim check"):
        source_of(message.with_claim_check(ClaimCheck("c", "b")))
