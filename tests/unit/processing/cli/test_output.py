"""Output of the operator's commands."""

from __future__ import annotations

from processing.cli.output import table


def test_table_aligns_columns_and_truncates_cells() -> None:
    """A cell has at most 60 characters."""
    assert table(("a", "b"), [("xyz", "1"), (4, "2" * 70)]).splitlines() == [
        "a    b",
        "xyz  1",
        "4    " + "2" * 59 + "…",
    ]


def test_control_characters_are_escaped() -> None:
    """The text of an event's error must not control the operator's terminal."""
    shown = table(("message",), [("\x1b]0;owned\x07\u202e é\n\x00",)]).splitlines()
    assert shown == ["message", r"\x1b]0;owned\x07\u202e é \x00"]
