"""How the operator's commands write."""

from __future__ import annotations

from processing.cli.output import table


def test_columns() -> None:
    """Aligned, and cut where they are too long."""
    assert table(("a", "b"), [("xyz", "1"), (4, "2" * 70)]).splitlines() == [
        "a    b",
        "xyz  1",
        "4    " + "2" * 59 + "…",
    ]


def test_nothing_but_text_reaches_the_terminal() -> None:
    """What an event's error quotes is shown, not obeyed."""
    shown = table(("message",), [("\x1b]0;owned\x07\u202e é\n\x00",)]).splitlines()
    assert shown == ["message", r"\x1b]0;owned\x07\u202e é \x00"]
