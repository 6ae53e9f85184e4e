"""The forms of `retry_after` that errors and headers have."""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal

import pytest

from processing.handlers.failures.retry_after import seconds_of

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (30, 30),
        (0.5, 0.5),
        (Decimal("1.5"), 1.5),
        ("30", 30),
        (" 2.5 ", 2.5),
        (timedelta(minutes=2), 120),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60),
        ("Tue, 14 Nov 2023 22:14:20 -0000", 60),
        ("Tue, 14 Nov 2023 23:14:20 +0100", 60),
    ],
)
def test_number_text_date_and_timedelta_are_seconds(value: object, seconds: float) -> None:
    """Handlers pass on what their client gives them."""
    assert seconds_of(value, NOW) == seconds


@pytest.mark.parametrize(
    "value", [0, -1, -0.5, "-30", timedelta(days=-1), "Tue, 14 Nov 2023 22:13:19 GMT", -(10**400)]
)
def test_pause_that_is_not_above_zero_is_unknown(value: object) -> None:
    """Otherwise a retry without a pause would be a hot loop."""
    assert seconds_of(value, NOW) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, "nan", "inf", "1e400", 10**400, "9" * 90])
def test_endless_pause_is_no_error(value: object) -> None:
    """The lane cuts the pause to the time that is left."""
    seconds = seconds_of(value, NOW)
    assert seconds is not None
    assert seconds > 1e80


@pytest.mark.parametrize("value", [True, b"30", [30], object(), "soon", "", "Tue", "9" * 101])
def test_other_values_are_refused(value: object) -> None:
    """The caller ignores them with a warning."""
    with pytest.raises(ValueError, match="the "):
        seconds_of(value, NOW)
