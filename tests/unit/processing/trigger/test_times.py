"""The faster parser of enqueued times answers as the worker library's own parser."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from azure.functions.meta import _BaseConverter
from hypothesis import given
from hypothesis import strategies as st

from processing.trigger import times

ORIGINAL = cast("times.Parse", _BaseConverter._parse_datetime)
FAST = times.fast(ORIGINAL)


def both(text: str | None) -> tuple[Any, Any]:
    """Return the answers of both parsers; an error is an answer, too."""
    answers: list[Any] = []
    for parse in (ORIGINAL, FAST):
        try:
            answers.append(parse(text))
        except ValueError as error:
            answers.append(type(error))
    return answers[0], answers[1]


@given(
    st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 1, 1)),
    st.sampled_from(["seconds", "milliseconds", "microseconds"]),
    st.sampled_from(["", "Z", "+00:00", "-00:00", "+02:00", "1", "999", "9Z"]),
    st.sampled_from(["T", " "]),
)
def test_parser_answers_as_the_original(
    time: datetime, digits: str, suffix: str, separator: str
) -> None:
    """Also for other zones, more digits than Python has, and texts that are refused."""
    text = time.isoformat(sep=separator, timespec=digits) + suffix
    expected, found = both(text)
    if isinstance(expected, datetime):
        assert found == expected
        assert found.tzinfo == expected.tzinfo


@given(st.text(max_size=40))
def test_any_other_text_is_left_to_the_original(text: str) -> None:
    """The original's error names the formats that it accepts."""
    expected, found = both(text)
    assert found == expected


@pytest.mark.parametrize("text", [None, "", "01/02/2026 03:04:05Z", "2026-01-02T03:04:05"])
def test_known_texts(text: str | None) -> None:
    """None and "" are None; the American form is read by the original."""
    expected, found = both(text)
    assert found == expected


class Converter:
    """A converter as in azure-functions 2.3.0."""

    calls = 0

    @classmethod
    def _parse_datetime(cls, datetime_str: str | None) -> datetime | None:
        cls.calls += 1
        return ORIGINAL(datetime_str)


def test_installed_parser_does_not_call_the_original() -> None:
    """A second installation changes nothing."""

    class Changed(Converter):
        pass

    assert times.install(Changed)
    installed = vars(Changed)[times.NAME]
    assert times.install(Changed)
    assert vars(Changed)[times.NAME] is installed
    Changed.calls = 0
    expected = datetime(2026, 11, 29, 5, 47, 28, 165_000)
    assert Changed._parse_datetime("2026-11-29T05:47:28.165") == expected
    assert Changed.calls == 0
    assert "_parse_datetime" in vars(Converter)


class Renamed:
    """A converter whose parser has another name."""


class Extended:
    """A converter whose parser takes more."""

    @classmethod
    def _parse_datetime(cls, datetime_str: str | None, zone: str) -> datetime | None:
        return ORIGINAL(datetime_str)


class Aware:
    """A converter that answers with a zone where today's has none."""

    @classmethod
    def _parse_datetime(cls, datetime_str: str | None) -> datetime | None:
        found = ORIGINAL(datetime_str)
        return found and found.replace(tzinfo=UTC)


class Failing:
    """A converter that raises for a sample."""

    @classmethod
    def _parse_datetime(cls, datetime_str: str | None) -> datetime | None:
        raise LookupError(datetime_str)


@pytest.mark.parametrize("converter", [Renamed, Extended, Aware, Failing])
def test_unknown_library_keeps_its_parser(
    converter: type, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning says so; the app works, only slower."""
    before = dict(vars(converter))
    with caplog.at_level(logging.WARNING):
        assert not times.install(converter)
    assert dict(vars(converter)) == before
    assert "is not replaced" in caplog.text


def test_app_installs_the_parser() -> None:
    """The trigger's converter has it after the app's object is built."""
    from azure.functions.eventhub import EventHubTriggerConverter

    from processing.bootstrap import Application

    Application({})
    parser: Any = EventHubTriggerConverter._parse_datetime
    assert parser.is_fast
