"""The texts that a person writes for one line: names and reasons.

A line break in such a text would forge a line of the log or of the history, and a control character
would control an operator's terminal.
"""

from __future__ import annotations

import unicodedata

JOINERS = "\u200c\u200d"
"""Invisible characters within words of Persian and Indian languages, and within emojis."""
_INVISIBLE = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols that are shown as nothing: fillers of Korean, and the blank of Braille."""


def one_line(text: str) -> str:
    """Return a person's text in one spelling.

    A letter with an accent is one character. Each kind of space is a plain space, also the
    no-break space and the wide space of Japanese texts.

    Raises:
        ValueError: the text has characters that cannot be printed, or none that is seen; the
            message follows "it has".
    """
    composed = unicodedata.normalize("NFC", text)
    spaced = "".join(" " if unicodedata.category(each) == "Zs" else each for each in composed)
    if not is_printable(spaced, JOINERS):
        raise ValueError("characters that cannot be printed")
    if not any(unicodedata.category(each)[0] in "LNPS" for each in set(spaced) - _INVISIBLE):
        raise ValueError("no visible character")
    return spaced.strip()


def is_printable(text: str, besides: str) -> bool:
    """Return whether a text has only printable characters, and characters of `besides`."""
    return all(each.isprintable() or each in besides for each in text)


def escaped(text: str) -> str:
    """Return a text with control characters and line breaks escaped, so that it stays one line."""
    if text.isprintable():
        return text
    return "".join(
        each if is_printable(each, JOINERS) or unicodedata.category(each) == "Zs" else _escape(each)
        for each in text
    )


def _escape(character: str) -> str:
    return ascii(character)[1:-1]
