"""Core Tools' JSON in host.json and local.settings.json, with all readers of the files."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import breaker.__main__
import console.__main__
import processing.__main__
from breaker.configuration.errors import ConfigurationError
from breaker.configuration.json_file import parse_json
from breaker.configuration.local_settings import read_local_settings
from local.functions_host.app_settings import load_settings_file
from local.functions_host.host_json import load_host_json
from scripts.check_infra.host_json import host_json_problems

FORMS: dict[str, Callable[[str], bytes]] = {
    "plain": lambda text: text.encode(),
    "line comments": lambda text: text.replace("\n", ' // a "comment" /*\n').encode(),
    "block comments": lambda text: text.replace(":", ' /* "," // \n * } */ :', 2).encode(),
    "comments around": lambda text: f"/* first */\n{text}// last".encode(),
    "trailing commas": lambda text: text.replace("\n}", "\n,\n}").replace("\n  }", ",}").encode(),
    "comma and comment": lambda text: text.replace("\n}", ", // x\n/* y */}").encode(),
    "byte-order mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "Windows lines": lambda text: text.replace("\n", " // c\r\n").encode(),
}
"""Functions that convert a plain document to each form that Core Tools accepts."""

HOST = """{
  "version": "2.0",
  "functionTimeout": "00:10:00",
  "extensionBundle": {
    "id": "Microsoft.Azure.Functions.ExtensionBundle",
    "version": "[4.28.0, 5.0.0)"
  },
  "extensions": {"http": {"routePrefix": "a//b"}}
}
"""
SETTINGS = """{
  "IsEncrypted": false,
  "Values": {
    "REDIS_URL": "redis://127.0.0.1:6379/0",
    "NOTE": "a // b /* c */ ,} \\\\",
    "NUMBER": 1.50,
    "FLAG": true
  }
}
"""
VALUES = {
    "REDIS_URL": "redis://127.0.0.1:6379/0",
    "NOTE": "a // b /* c */ ,} \\",
    "NUMBER": "1.50",
    "FLAG": "true",
}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Callable[[str], bytes]:
    return FORMS[request.param]


def test_all_host_json_readers_accept_each_form(
    tmp_path: Path, form: Callable[[str], bytes]
) -> None:
    """The local host and check_infra read each form."""
    file = tmp_path / "host.json"
    file.write_bytes(form(HOST))
    assert load_host_json(file).route_prefix == "a//b"
    assert list(host_json_problems(file)) == []


def test_all_settings_readers_return_same_values(
    tmp_path: Path, form: Callable[[str], bytes]
) -> None:
    """The command lines and the local host read the same values."""
    file = tmp_path / "local.settings.json"
    file.write_bytes(form(SETTINGS))
    environment: dict[str, str] = {}
    load_settings_file(file, environment)
    assert read_local_settings(file) == environment == VALUES


COMMAND_LINES: Mapping[str, tuple[Callable[[list[str]], int], list[str], str]] = {
    "breaker": (breaker.__main__.main, ["status"], "BREAKER_NAME"),
    "processing": (processing.__main__.main, ["poison", "list"], "AzureWebJobsStorage"),
    "console": (console.__main__.main, [], "CONSOLE_TOKEN"),
}


@pytest.mark.parametrize("name", COMMAND_LINES)
def test_command_lines_read_settings_in_each_form(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    form: Callable[[str], bytes],
    name: str,
) -> None:
    """Each command line reads the file and reports the first invalid setting."""
    file = tmp_path / "local.settings.json"
    file.write_bytes(form(SETTINGS.replace('"FLAG"', '"BREAKER_NAMES": "x", "FLAG"')))
    main, arguments, says = COMMAND_LINES[name]
    assert main([*arguments, "--settings", str(file)]) == 2
    message = capsys.readouterr().err
    assert message.startswith("breakwater: ")
    assert says in message
    assert str(file) not in message


@pytest.mark.parametrize("name", COMMAND_LINES)
def test_command_lines_name_line_and_column_of_broken_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    file = tmp_path / "local.settings.json"
    file.write_text('{\n  // here\n  "Values": {"A": "1" "B": "2"}\n}')
    main, arguments, _ = COMMAND_LINES[name]
    assert main([*arguments, "--settings", str(file)]) == 2
    assert f"{file} is not JSON: line 3, column 23: Expecting ','" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ('{"a": "http://x/*y*/,]"}', {"a": "http://x/*y*/,]"}),
        (r'{"a": "\"// x", "b": "\\",}', {"a": '"// x', "b": "\\"}),
        ('[1, [2,], {"a": {},},]', [1, [2], {"a": {}}]),
        ("[1 /**/, /* , */ 2 // ,\n, ]", [1, 2]),
        ("//\n1", 1),
        ("/***/1", 1),
        ("1//", 1),
    ],
)
def test_comments_and_trailing_commas_are_ignored(text: str, document: Any) -> None:
    assert parse_json(text, "x") == document


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("", 1, 1),
        ("{", 1, 2),
        ("[,]", 1, 2),
        ("{,}", 1, 2),
        ("[1,,]", 1, 4),
        ('{"a":,}', 1, 6),
        (",", 1, 1),
        ("1,", 1, 2),
        ("/* open", 1, 1),
        ("/* a\n b */ [1\n2]", 3, 1),
        ('[\n"open // x\n]', 2, 11),
        ("[1] /", 1, 5),
        ("[1 # no\n]", 1, 4),
    ],
)
def test_errors_name_line_and_column(text: str, line: int, column: int) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_json(text, "a.json")
    assert str(raised.value).startswith(f"a.json is not JSON: line {line}, column {column}: ")


def test_wrong_encoding_and_deep_nesting_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    for data, says in ((b'{"a": "\xff"}', "byte 7 is not utf-8"), (b"[" * 100_000, "too deeply")):
        file.write_bytes(data)
        with pytest.raises(ConfigurationError, match=says):
            read_local_settings(file)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], 'has no object "Values"'),
        ({"Values": None}, 'has no object "Values"'),
        ({"Values": []}, 'has no object "Values"'),
        ({"IsEncrypted": True, "Values": {}}, "is encrypted"),
        ({"Values": {"A": {"hush": "hush"}}}, "A is an object: it takes a string"),
        ({"Values": {"A": ["hush"]}}, "A is an array: it takes a string"),
    ],
)
def test_settings_file_of_another_form_is_refused(tmp_path: Path, document: Any, says: str) -> None:
    file = tmp_path / "local.settings.json"
    file.write_text(json.dumps(document))
    with pytest.raises(ConfigurationError, match=says) as raised:
        load_settings_file(file, {})
    assert str(file) in str(raised.value)
    assert "hush" not in str(raised.value)


def test_only_the_local_host_accepts_a_settings_file_without_values(tmp_path: Path) -> None:
    """An app may need no settings, but a command line that names such a file names a wrong one."""
    file = tmp_path / "local.settings.json"
    file.write_text('{"IsEncrypted": false}')
    environment: dict[str, str] = {}
    load_settings_file(file, environment)
    assert environment == {}
    with pytest.raises(ConfigurationError, match='has no object "Values"'):
        read_local_settings(file)


def test_null_is_not_set(tmp_path: Path) -> None:
    """Core Tools skips such a setting."""
    file = tmp_path / "local.settings.json"
    file.write_text('{"Values": {"A": null, "B": ""}}')
    assert read_local_settings(file) == {"B": ""}


def test_empty_variable_does_not_hide_the_value_of_the_file(tmp_path: Path) -> None:
    """As with Core Tools, only a variable with a value wins."""
    file = tmp_path / "local.settings.json"
    file.write_text('{"Values": {"A": "1", "B": "2"}}')
    environment = {"A": "", "B": "3"}
    load_settings_file(file, environment)
    assert environment == {"A": "1", "B": "3"}


def test_constants_of_json_become_texts(tmp_path: Path) -> None:
    """An app setting is always a text, as in the environment."""
    file = tmp_path / "local.settings.json"
    file.write_text('{"Values": {"A": NaN, "B": Infinity, "C": -Infinity}}')
    assert read_local_settings(file) == {"A": "NaN", "B": "Infinity", "C": "-Infinity"}


def test_section_names_are_not_case_sensitive(tmp_path: Path) -> None:
    file = tmp_path / "local.settings.json"
    file.write_text('{"isEncrypted": false, "values": {"a": "b"}}')
    assert read_local_settings(file) == {"a": "b"}
