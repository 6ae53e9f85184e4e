"""A reader of Core Tools' JSON, with comments, trailing commas and a byte-order mark."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from breaker.configuration.errors import ConfigurationError

_STRING = r'"(?:[^"\\\r\n]|\\.)*"?'
_COMMENT = re.compile(rf"({_STRING})|//[^\r\n]*|/\*[\s\S]*?\*/")
_COMMA = re.compile(rf"({_STRING})|,(?=[ \t\r\n]*[\]}}])")
_BLANK = re.compile(r"[^\r\n]")


def read_json_file(path: Path, *, raw_numbers: bool = False) -> Any:
    """Return the document of a file in UTF-8, or in UTF-16 with a byte-order mark.

    Args:
        path: the file.
        raw_numbers: return each number, NaN and Infinity as its text in the file.

    Raises:
        FileNotFoundError: the file does not exist.
        ConfigurationError: the file cannot be read or is not JSON; the message has file, line and
            column.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    try:
        text = data.decode(json.detect_encoding(data))
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path} is not JSON: byte {error.start} is not {error.encoding}"
        ) from None
    return parse_json(text, str(path), raw_numbers=raw_numbers)


def parse_json(text: str, source: str, *, raw_numbers: bool = False) -> Any:
    """Return the document in `text`; `source` is the text's name in errors.

    Raises:
        ConfigurationError: the text is not JSON; the message has source, line and column.
    """
    number = str if raw_numbers else None
    try:
        return json.loads(_plain(text), parse_int=number, parse_float=number, parse_constant=number)
    except json.JSONDecodeError as error:
        raise ConfigurationError(
            f"{source} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        ) from None
    except RecursionError:
        raise ConfigurationError(f"{source} is not JSON: it is nested too deeply") from None
    except ValueError as error:  # a number with too many digits
        raise ConfigurationError(f"{source} is not JSON: {error}") from None


def _plain(text: str) -> str:
    """Return the text with blanks instead of comments and trailing commas, so positions stay."""
    text = _COMMENT.sub(lambda found: found[1] or _BLANK.sub(" ", found[0]), text)

    def without_comma(found: re.Match[str]) -> str:
        if found[1]:
            return found[1]
        # Only a comma after a value is a trailing comma; `[,]` and `[1,,]` stay errors.
        before = text[: found.start()].rstrip(" \t\r\n")[-1:]
        return "," if before in {"", "[", "{", ",", ":"} else " "

    return _COMMA.sub(without_comma, text)
