"""Lengths of time on the command line and in the console."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breaker.duration import LONGEST_SECONDS, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30m", 1_800),
        ("2h", 7_200),
        ("1d", 86_400),
        ("1h30m", 5_400),
        ("1d2h3m4s", 93_784),
        (" 2H ", 7_200),
        ("30d", LONGEST_SECONDS),
        ("1s", 1),
    ],
)
def test_each_form_is_read(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "2", "h", "0s", "0d0h", "-1h", "1.5h", "30m1h", "2h2h", "2 h", "31d", "30d1s"),
        *("soon", "٣h", "1e3s", "9" * 30 + "s"),
    ],
)
def test_other_text_is_refused_with_the_forms(text: str) -> None:
    """The message has the text and the accepted forms."""
    with pytest.raises(ValueError, match="is not a length of time: it takes 90s, 30m, 2h, 1d"):
        parse_duration(text)


@given(st.integers(1, LONGEST_SECONDS))
def test_formatted_duration_is_read_as_the_same_length(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds
