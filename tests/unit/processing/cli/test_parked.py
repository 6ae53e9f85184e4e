"""The output of `parked list`."""

from __future__ import annotations

import json

import pytest

from processing.cli.output import Pages, in_seconds, show_key, table
from processing.cli.parked import HEADINGS, document, row
from processing.redrive.listing import ListedKey, ListState
from tests.support.processing.events import SOURCE, event

NOW = 1_764_464_400.0
DEFERRED = ListedKey(
    SOURCE,
    key="order-7",
    is_lone=False,
    state=ListState.DEFERRED,
    since=NOW - 60,
    entries=1_000,
    event=event(5).id,
    reason="dependency",
    dependency="bank",
    attempts=7,
    due=NOW + 12.3,
    error="ConnectError: no route",
)
PARKED = ListedKey(
    SOURCE,
    key=None,
    is_lone=True,
    state=ListState.PARKED,
    since=NOW,
    entries=1,
    event=event(6).id,
    reason="poison",
    attempts=1,
    error="PoisonEventError: bad",
)


def test_table_shows_why_each_key_waits_and_its_next_try() -> None:
    """An operator sees which keys wait for a decision, and which keys continue alone."""
    lines = table(HEADINGS, [row(each, NOW) for each in (DEFERRED, PARKED)]).splitlines()
    assert [line.split("  ")[0] for line in lines] == ["partition", "0", "0"]
    for part in ("'order-7'", "deferred", "dependency", "bank", "in 12 s", "999", "no route"):
        assert part in lines[1]
    for part in ("(no key) 0/6/1700000000006", "parked", "poison", "waits for an operator", "bad"):
        assert part in lines[2]


def test_pages_of_a_table_have_one_heading_and_the_same_columns() -> None:
    """A column grows if a later page needs more, and does not shrink again."""
    pages = Pages(("key", "events", "error"))
    assert pages.page([("a", 1, "x")]) == "key  events  error\na    1       x"
    assert pages.page([("long key", 2, "y")]) == "long key  2       y"
    assert pages.page([("b", 3, "z")]) == "b         3       z"


def test_document_has_numbers_instead_of_texts() -> None:
    """A program needs no clock of its own to know when the next try is due."""
    found = json.loads(json.dumps(document(DEFERRED, NOW)))
    assert (found["next_try"], found["next_try_seconds"]) == (NOW + 12.3, 12.3)
    assert (found["entries"], found["behind"], found["event"]) == (1_000, 999, event(5).id)
    assert document(DEFERRED, NOW + 60)["next_try_seconds"] == 0.0
    waits = document(PARKED, NOW)
    assert (waits["next_try"], waits["next_try_seconds"], waits["dependency"]) == (None,) * 3


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "now"),
        (0.4, "now"),
        (1, "in 1 s"),
        (119, "in 119 s"),
        (120, "in 2 min"),
        (7_199, "in 119 min"),
        (7_200, "in 2 h"),
    ],
)
def test_times_are_shown_in_one_unit(seconds: float, text: str) -> None:
    """A pause of minutes needs no seconds."""
    assert in_seconds(seconds) == text


def test_event_without_a_key_differs_from_every_key() -> None:
    """A key may have any text."""
    assert show_key(None) == "(no key)"
    assert show_key("(no key)") == "'(no key)'"
