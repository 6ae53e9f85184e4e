"""The output of `parked list`."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from processing.cli.output import in_seconds, show_key, table
from processing.cli.parked import HEADINGS, document, row, select
from processing.parking.deferral import Deferral, DeferralReason
from processing.parking.store import ParkedKey
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


def test_list_is_limited_to_a_partition_and_to_a_dependency() -> None:
    """An operator asks what waits for the dependency that is down; the longest comes first."""
    bank = Deferral(DeferralReason.REFUSED, dependency="bank")
    keys = [
        ParkedKey(SOURCE, "new", NOW, 1, bank),
        ParkedKey(SOURCE, "old", NOW - 9, 1, bank),
        ParkedKey(SOURCE, "mail", NOW, 1, replace(bank, dependency="mail")),
        ParkedKey(SOURCE, "parked", NOW, 1),
        ParkedKey(replace(SOURCE, partition="1"), "other", NOW - 5, 1, bank),
    ]
    assert [each.key for each in select(keys, None, "bank")] == ["old", "other", "new"]
    assert [each.key for each in select(keys, "1", "")] == ["other"]
    assert [each.key for each in select(keys, "0", "mail")] == ["mail"]
    assert len(select(keys, None, "")) == 5


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
