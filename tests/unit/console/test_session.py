"""Sessions: cookies that any instance can check, and nobody else can make."""

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
    """With the same token; the CSRF token is each session's own."""
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


def test_a_session_ends() -> None:
    """After half a day, and when the token changes."""
    clock = Clock()
    sessions = Sessions(TOKEN, clock)
    cookie = sessions.make("ann")
    assert Sessions(TOKEN + "x", clock).read(cookie) is None
    clock.now += SECONDS - 1
    assert sessions.read(cookie) is not None
    clock.now += 1
    assert sessions.read(cookie) is None


def test_what_was_not_signed_here_is_no_session() -> None:
    """Whatever is changed, cut or made up."""
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
    """Even a signed one."""
    sessions = Sessions(TOKEN)
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    assert sessions.read(f"{payload}.{sessions._sign('cookie', payload)}") is None
