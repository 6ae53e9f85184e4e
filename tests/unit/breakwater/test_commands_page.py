"""docs/commands.md describes the commands as they are."""

from __future__ import annotations

from breaker.configuration.command_line import EXIT_CODES
from breakwater.commands import KNOWN, SECTIONS
from tests.support.commands_page import BEGINNING, PAGE, reference


def test_page_has_each_command_and_option() -> None:
    """`python -m tests.support.commands_page` writes this part."""
    text = PAGE.read_text()
    assert text[text.index(BEGINNING) :] == reference()


def test_page_names_all_commands_and_exit_codes() -> None:
    """Also the commands that another wheel brings."""
    own, _, _ = PAGE.read_text().partition(BEGINNING)
    others = {
        name
        for lines in SECTIONS.values()
        for each in lines
        if not each.home
        for name in each.names
    }
    assert others < set(KNOWN)
    assert [name for name in others if f"`{name}`" not in own] == []
    codes = [word for word in EXIT_CODES.split() if word.isdigit()]
    assert codes == ["0", "1", "2", "3", "130"]
    assert [code for code in codes if f"\n| {code} |" not in own] == []
