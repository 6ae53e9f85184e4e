"""Names of operators: those that Azure's authentication sends, and those that operators type."""

from __future__ import annotations

import base64
import json
import unicodedata
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from console.access.operator_name import NAME, NAME_CHARS, PRINCIPAL, operator_name
from console.web.requests import line_in

NAMES = ["ann@example.com", "Jürgen Groß", "山田", "Łukasz Żółć", "नरेन्\u200dद्र", "O'Brien (Ops)"]


def as_header(text: str) -> str:
    """Return what an ASGI server passes on for a header in UTF-8."""
    return text.encode().decode("latin-1")


def principal(*claims: tuple[str, Any], **fields: Any) -> str:
    document = {"claims": [{"typ": kind, "val": value} for kind, value in claims], **fields}
    return base64.b64encode(json.dumps(document, ensure_ascii=False).encode()).decode()


@pytest.mark.parametrize("name", NAMES)
def test_name_in_utf_8_is_kept(name: str) -> None:
    assert operator_name({NAME: as_header(name)}) == name


def test_name_in_latin_1_is_kept() -> None:
    assert operator_name({NAME: "Jürgen Groß"}) == "Jürgen Groß"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("header", ["", "  ", "J?rgen Gro?", "\ufffd", "a\x07", "\u200d"])
def test_claims_replace_a_name_that_lost_letters(name: str, header: str) -> None:
    headers = {NAME: as_header(header), PRINCIPAL: principal(("aud", "x"), ("name", name))}
    assert operator_name(headers) == name


def test_claims_without_the_name_header_name_nobody() -> None:
    """A proxy that guards the name header alone passes on anybody's claims."""
    assert operator_name({PRINCIPAL: principal(("name", "Ann"))}) == ""


def test_usable_header_wins_over_claims() -> None:
    claims = principal(("name", "Jürgen Groß"))
    assert operator_name({NAME: "juergen@example.com", PRINCIPAL: claims}) == "juergen@example.com"


def claimed_name(text: str) -> str:
    return operator_name({NAME: "?", PRINCIPAL: text})


@pytest.mark.parametrize("kind", ["preferred_username", "upn"])
def test_login_comes_before_a_name_that_its_owner_can_change(kind: str) -> None:
    claims = [("name", "Ann"), ("urn:nick", "Annie"), (kind, "ann@x")]
    for named in ("name", "urn:nick", "urn:other"):
        assert claimed_name(principal(*claims, name_typ=named)) == "ann@x"


def test_claim_that_the_principal_names_comes_before_other_names() -> None:
    claims = [("name", "Ann"), ("email", "ann@x"), ("urn:nick", "Annie")]
    assert claimed_name(principal(*claims, name_typ="urn:nick")) == "Annie"
    assert claimed_name(principal(*claims, name_typ="urn:other")) == "Ann"
    assert claimed_name(principal(*claims[1:2])) == "ann@x"
    assert claimed_name(principal(userDetails="ann@y")) == "ann@y"


def test_principal_without_padding_is_read() -> None:
    assert claimed_name(principal(("name", "Ann")).rstrip("=")) == "Ann"


@pytest.mark.parametrize(
    "text",
    [
        *("", "%", "é", "e30", "bnVsbA", "W10", "x" * 5),
        base64.b64encode(b"[" * 5_000).decode(),
        base64.b64encode(b"\xff\xfe").decode(),
        principal(("name", None), ("name", 1), ("email", "")),
        principal(("name", "a\nb")),
        base64.b64encode(b'{"claims": {"typ": "name"}}').decode(),
        base64.b64encode(b'{"claims": [1, null, {"typ": 1, "val": "x"}]}').decode(),
    ],
)
def test_principal_without_a_usable_name_names_nobody(text: str) -> None:
    assert claimed_name(text) == "?"
    assert operator_name({NAME: "", PRINCIPAL: text}) == ""


def test_spellings_of_one_name_are_one_operator() -> None:
    """Composed and decomposed letters, and each kind of space."""
    for spelled in (
        unicodedata.normalize("NFD", "Jürgen Groß"),
        "Jürgen\u00a0Groß",
        " Jürgen Groß ",
    ):
        assert operator_name({NAME: as_header(spelled)}) == "Jürgen Groß"
    assert operator_name({NAME: as_header("山田\u3000太郎")}) == "山田 太郎"


def test_long_name_is_cut() -> None:
    assert operator_name({NAME: as_header("ü" * 500)}) == "ü" * NAME_CHARS
    assert operator_name({NAME: as_header("\u200d" * NAME_CHARS + "a")}) == ""


@pytest.mark.parametrize("name", [*NAMES, "山田 太郎"])
def test_typed_name_is_kept(name: str) -> None:
    assert line_in({"name": name.replace(" ", "\u3000")}, "name") == name


@pytest.mark.parametrize("name", ["a\nb", "a\x00", "\ud800", "a\u202eb", "a\u200bb"])
def test_name_with_control_characters_is_refused(name: str) -> None:
    with pytest.raises(HTTPException, match="cannot be printed"):
        line_in({"name": name}, "name")


@pytest.mark.parametrize("name", ["\u200d\u200c", "\ufe0f", "\u3164", "\u2800 \u200c", "\u0301"])
def test_name_without_a_visible_character_is_refused(name: str) -> None:
    with pytest.raises(HTTPException, match="no visible character"):
        line_in({"name": name}, "name")
    assert operator_name({NAME: as_header(name)}) == ""


def test_length_of_a_typed_name_is_that_of_its_kept_spelling() -> None:
    spelled = unicodedata.normalize("NFD", "ü" * 64)
    assert line_in({"name": f" {spelled} "}, "name", 64) == "ü" * 64
    with pytest.raises(HTTPException, match="more than 64 characters"):
        line_in({"name": "\u0958" * 33}, "name", 64)  # each is kept as two characters
