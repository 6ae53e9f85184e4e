"""Origins and Host headers: spellings of one place are equal, and other places are not."""

from __future__ import annotations

import pytest

from console.access.operator_name import header_text
from console.origins import Origin
from console.settings import ConsoleSettings

TOKEN = "a-token-of-32-characters-for-test"

SAME = [
    ("https://x", "x"),
    ("https://x", "x:443"),
    ("https://x:443", "x"),
    ("https://x:443", "x:443"),
    ("https://x", "x:80"),
    ("http://x", "x"),
    ("http://x", "x:80"),
    ("http://x:80", "x"),
    ("http://x", "x:443"),
    ("https://x:", "x:"),
    ("https://x.", "x"),
    ("https://x", "x."),
    ("https://x", "x.:443"),
    ("https://X.Example", "x.EXAMPLE:443"),
    ("HTTPS://x", "x"),
    ("http://[::1]", "[::1]:80"),
    ("https://[::1]", "[::1]:443"),
    ("https://[::1]", "[0:0:0:0:0:0:0:1]:443"),
    ("https://[FE80::A]:8443", "[fe80::a]:8443"),
    ("https://xn--bcher-kva.example", "bücher.example:443"),
    ("https://BÜCHER.example", "xn--bcher-kva.example"),
    ("https://straße.example", "xn--strae-oqa.example"),
    ("https://my_console:8080", "my_console:8080"),
    ("http://127.0.0.1:7090", "127.0.0.1:7090"),
]
OTHER = [
    ("https://x", "y"),
    ("https://x", ""),
    ("https://x", "x:8443"),
    ("https://x:8443", "x"),
    ("https://x:8443", "x:443"),
    ("https://x:80", "x"),
    ("http://x:443", "x"),
    ("https://x:80", "x:443"),
    ("https://x", "x.evil.example"),
    ("https://x.evil.example", "x"),
    ("https://x", "x.."),
    ("https://x", "x@x"),
    ("https://x", "x, x"),
    ("https://[::1]", "::1"),
    ("https://[::1]", "[::2]"),
    ("https://strasse.example", "straße.example"),
]
INVALID = [
    *("", "null", "x", "https://", "https://:443", "ftp://x", "https://x/", "https://x/path"),
    *("https://x?q", "https://x#f", "https://ann@x", "https://x:99999", "https://x:0"),
    *("https://x:443:443", "https://[::1", "https://::1", "https://[x]", "https://*.example"),
    *("https://x y", "https://x..", "https://-", "https://x\\y", "https://x,https://y"),
]


@pytest.mark.parametrize(("origin", "host"), SAME)
def test_host_header_names_the_place_of_an_origin(origin: str, host: str) -> None:
    assert Origin.parse(origin).is_at(host)


@pytest.mark.parametrize(("origin", "host"), OTHER)
def test_other_host_header_names_another_place(origin: str, host: str) -> None:
    assert not Origin.parse(origin).is_at(host)


@pytest.mark.parametrize("text", INVALID)
def test_text_of_another_form_is_no_origin(text: str) -> None:
    with pytest.raises(ValueError):
        Origin.parse(text)


@pytest.mark.parametrize("text", ["bücher.example", "山田.example", "x"])
def test_header_in_utf_8_is_decoded(text: str) -> None:
    assert header_text(text.encode().decode("latin-1")) == text


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("https://Console.example.com/", "https://console.example.com"),
        ("https://x:443", "https://x"),
        ("http://x.:80/", "http://x"),
        ("https://x:8443", "https://x:8443"),
        ("https://Bücher.example", "https://xn--bcher-kva.example"),
        ("https://[0::1]:443", "https://[::1]"),
    ],
)
def test_setting_stores_the_normal_form(text: str, stored: str) -> None:
    values = {"CONSOLE_TOKEN": TOKEN, "CONSOLE_ORIGINS": text}
    assert ConsoleSettings.from_mapping(values).origins == (stored,)
