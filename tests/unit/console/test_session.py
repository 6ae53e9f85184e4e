"""Session cookies: any instance reads them, and only the console can create them."""

from __future__ import annotations

import base64
import json

import pytest

from console.access.session import SECONDS, Sessions

TOKEN = "a-token-of-32-characters-for-test"


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def test_any_instance_reads_a_cookie() -> None:
    """Instances share the token; each session has its own CSRF token."""
    one, two = Sessions(TOKEN), Sessions(TOKEN)
    cookie, other = one.make("ann é"), one.make("ann é")
    session = two.read(cookie)
    assert session is not None
    assert session.operator == "ann é"
    assert cookie != other
    second = two.read(other)
    assert second is not None
    assert session.csrf != second.csrf
    assert session.csrf not in cookie


@pytest.mark.parametrize("letter", ["\U00020bb7", "ü", '"', "\\"])
def test_longest_name_has_a_session(letter: str) -> None:
    """A rare character of a Japanese name takes four bytes."""
    session = Sessions(TOKEN).read(Sessions(TOKEN).make(letter * 64))
    assert session is not None
    assert session.operator == letter * 64


def test_session_ends_after_12_hours_or_with_a_new_token() -> None:
    """A session ends after 12 hours, or when the token changes."""
    clock = Clock()
    sessions = Sessions(TOKEN, clock)
    cookie = sessions.make("ann")
    assert Sessions(TOKEN + "x", clock).read(cookie) is None
    clock.now += SECONDS - 1
    assert sessions.read(cookie) is not None
    clock.now += 1
    assert sessions.read(cookie) is None


def test_forged_cookie_is_no_session() -> None:
    """A changed, cut or invented cookie is refused."""
    sessions = Sessions(TOKEN)
    payload, _, signature = sessions.make("ann").partition(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    forged = base64.urlsafe_b64encode(json.dumps(claims | {"by": "root"}).encode()).decode()
    session = sessions.read(f"{payload}.{signature}")
    assert session is not None
    for cookie in (
        "",
        ".",
        payload,
        f"{payload}.",
        f".{signature}",
        f"{forged.rstrip('=')}.{signature}",
        f"{payload}.{signature[:-1]}",
        f"{payload}.{session.csrf}",
        f"{payload}.é",
        f"{'x' * 5_000}.{signature}",
    ):
        assert sessions.read(cookie) is None, cookie


@pytest.mark.parametrize("claims", [[], {}, {"by": "a"}, {"by": "a", "until": "soon"}, 5])
def test_a_payload_of_another_version_is_no_session(claims: object) -> None:
    """A valid signature does not help."""
    sessions = Sessions(TOKEN)
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    assert sessions.read(f"{payload}.{sessions._sign('cookie', payload)}") is None
