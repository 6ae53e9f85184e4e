"""The client of the function app's management: retries, tokens, and errors that say what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from processing.errors import SiteError
from processing.site.client import ATTEMPTS, Site
from processing.site.settings import SiteSettings
from tests.support.arm import Arm


@pytest.fixture
async def arm() -> AsyncIterator[Arm]:
    async with Arm().running() as running:
        yield running


class Identity:
    """An identity that gives a token, or an error."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.scopes: list[str] = []
        self.closed = False

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.scopes += scopes
        if self.error is not None:
            raise self.error
        return AccessToken("secret", 0)

    async def close(self) -> None:
        self.closed = True


def new_site(arm: Arm, *, audience: str = "", identity: Identity | None = None) -> Site:
    def new_credential() -> Any:
        assert identity is not None, "the local stack takes no token"
        return identity

    async def sleep(_: float) -> None: ...

    return Site(SiteSettings(arm.url, audience), new_credential, sleep=sleep)


async def test_state_stop_and_start(arm: Arm) -> None:
    """Each call names the version of the API."""
    site = new_site(arm)
    assert await site.state() == "Running"
    assert await site.stop() == "HTTP 200"
    assert await site.state() == "Stopped"
    assert await site.start() == "HTTP 200"
    await site.aclose()
    version = "api-version=2025-03-01"
    assert arm.calls == [
        ("GET", "", version, ""),
        ("POST", "stop", version, ""),
        ("GET", "", version, ""),
        ("POST", "start", version, ""),
    ]


async def test_identity_signs_in_for_the_audience(arm: Arm) -> None:
    identity = Identity()
    site = new_site(arm, audience="https://management.azure.com/", identity=identity)
    await site.state()
    await site.aclose()
    assert identity.scopes == ["https://management.azure.com/.default"]
    assert identity.closed
    assert [call[3] for call in arm.calls] == ["Bearer secret"]


async def test_missing_token_names_the_remedy(arm: Arm) -> None:
    """No call is made without a token."""
    identity = Identity(ClientAuthenticationError("no login\nmany more lines"))
    site = new_site(arm, audience="https://management.azure.com/", identity=identity)
    with pytest.raises(SiteError, match=r"no token for Azure: .*: no login; .*az login") as caught:
        await site.stop()
    await site.aclose()
    assert caught.value.detail == "no token"
    assert arm.calls == []


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503, 0])
async def test_passing_failure_is_retried(arm: Arm, status: int) -> None:
    arm.stop = [status, status]
    site = new_site(arm)
    assert await site.stop() == "HTTP 200"
    await site.aclose()
    assert len(arm.calls) == 3


@pytest.mark.parametrize(
    ("status", "words", "calls"),
    [
        (400, "refused; check FUNCTION_APP_URL", 1),
        (401, "sign in to the tenant", 1),
        (403, "lacks the role 'Breakwater stop and start'", 1),
        (404, "knows no such function app; FUNCTION_APP_URL is http://127.0.0.1", 1),
        (409, "another operation on the app is running", ATTEMPTS),
        (429, "too many calls", ATTEMPTS),
        (500, "failed; repeat in a minute", ATTEMPTS),
        (302, "refused", 1),
    ],
)
async def test_refusal_says_what_to_do(arm: Arm, status: int, words: str, calls: int) -> None:
    """The error has the status, the service's own words, and the remedy."""
    arm.start = [status] * ATTEMPTS
    site = new_site(arm)
    with pytest.raises(SiteError) as caught:
        await site.start()
    await site.aclose()
    assert caught.value.detail == f"HTTP {status}"
    assert caught.value.answered
    assert str(caught.value).startswith(f"HTTP {status}: ")
    assert words in str(caught.value)
    assert "(Code: the reason)" in str(caught.value)
    assert len(arm.calls) == calls


async def test_lost_answer_is_not_a_refusal(arm: Arm) -> None:
    """The call may have been carried out."""
    arm.stop = [0] * ATTEMPTS
    site = new_site(arm)
    with pytest.raises(SiteError, match="may have been carried out") as caught:
        await site.stop()
    await site.aclose()
    assert (caught.value.detail, caught.value.answered) == ("no answer", False)


async def test_poller_makes_one_attempt(arm: Arm) -> None:
    arm.get = [503, 503]
    site = new_site(arm)
    with pytest.raises(SiteError, match="HTTP 503"):
        await site.state(attempts=1)
    await site.aclose()
    assert len(arm.calls) == 1


async def test_answer_without_a_state_is_an_error(arm: Arm) -> None:
    """An address of another resource type must not look like a stopped app."""
    arm.state = ""
    site = new_site(arm)
    with pytest.raises(SiteError, match="without the app's state; check FUNCTION_APP_URL"):
        await site.state()
    await site.aclose()
