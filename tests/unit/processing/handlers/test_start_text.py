"""The text of a failed start in health."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import pytest

from processing.errors import HandlerStartError
from processing.event import Event
from processing.handlers.loading import load_handler
from processing.handlers.start_text import start_text

SETTINGS = {"BANK_TOKEN": "t0psecret", "BANK_URL": "https://bank.example", "PIN_KEY": "12"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no route to postgres://app:pa55@db/orders", "no route to postgres://(…)@db/orders"),
        ("redis://:p@ss@cache:6380 is away", "redis://(…)@cache:6380 is away"),
        ("refused: t0psecret at https://bank.example", "refused: (…) at https://bank.example"),
        ("host=db password=pa55 user=app", "host=db password=(…) user=app"),
        ("Password = 'pa 55'; Server=db", "Password = (…); Server=db"),
        ("AccountName=a;AccountKey=abc==;", "AccountName=a;AccountKey=(…);"),
        ("12 of 12", "12 of 12"),
        ("mail me@example.com", "mail me@example.com"),
    ],
)
def test_text_of_a_failed_start_has_no_password(text: str, shown: str) -> None:
    """Addresses, hosts and names stay, because the operator needs them."""
    assert start_text(OSError(text), SETTINGS) == f"OSError: {shown}"


class Failing:
    def __init__(self, where: str) -> None:
        self.where = where

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        if settings["FAILS"] == "build":
            raise OSError("postgres://app:pa55@db is no address")
        if settings["FAILS"] == "exit":
            raise SystemExit(2)
        return cls(settings["FAILS"])

    def start(self) -> None:
        raise OSError("no route to postgres://app:pa55@db")

    def __call__(self, event: Event) -> None:
        """Do nothing."""


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("build", "from_settings(settings) raised OSError: postgres://(…)@db is no address"),
        ("start", "start raised OSError: no route to postgres://(…)@db"),
        ("exit", "from_settings(settings) raised SystemExit: 2"),
    ],
)
async def test_problem_of_a_failed_start_has_no_password(where: str, says: str) -> None:
    """Health, the vitals in Redis and the console show the problem."""
    handler = load_handler(Failing, {"FAILS": where})
    with pytest.raises(HandlerStartError):
        await handler.start()
    assert says in (handler.results.problem or "")
    await handler.aclose()
