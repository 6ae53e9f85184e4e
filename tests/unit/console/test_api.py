"""The console's API in this process: authentication and invalid input."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from breaker import (
    BreakerSettings,
    CircuitBreaker,
    MemoryCircuitStore,
    Step,
    StepKind,
    WaitsFor,
)
from console.app import create_app
from console.errors import ConsoleSettingsError
from console.settings import ConsoleSettings

TOKEN = "a-token-of-32-characters-for-test"


@pytest.fixture
def breaker() -> CircuitBreaker:
    return CircuitBreaker(MemoryCircuitStore("c"), BreakerSettings(name="c"))


@pytest.fixture
async def console(breaker: CircuitBreaker) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(breaker, ConsoleSettings(token=TOKEN))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        breaker,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://console", headers=headers
        ) as client,
    ):
        yield client


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer é"],
)
async def test_api_needs_the_token(console: httpx.AsyncClient, header: str | None) -> None:
    """Without the token not even the existence of a path is revealed; health is public."""
    headers = [] if header is None else [(b"authorization", header.encode())]
    del console.headers["Authorization"]
    for method, path in (
        ("GET", "/api/circuits/c"),
        ("POST", "/api/approvals"),
        ("POST", "/api/circuits/c/approve"),
        ("GET", "/nowhere"),
    ):
        answer = await console.request(method, path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "Authorization" in answer.json()["error"]
    assert (await console.get("/healthz")).json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "the body is not JSON"),
        (b"\xff\xfe", 400, "the body is not JSON"),
        (b"[" * 16_000, 400, "the body is not JSON"),
        (b"[1]", 400, "the body is not a JSON object"),
        (b"{}", 400, "circuit is missing"),
        (b'{"circuit": 5}', 400, "circuit is missing, blank or not a text"),
        (
            b'{"circuit": "other", "generation": 1, "callbackUrl": "http://localhost/"}',
            404,
            "there is no circuit 'other' in this console",
        ),
        (b'{"circuit": "c"}', 400, "generation is missing or not a whole number from 1"),
        (b'{"circuit": "c", "generation": true}', 400, "generation is missing or not"),
        (b'{"circuit": "c", "generation": "1"}', 400, "generation is missing or not"),
        (b'{"circuit": "c", "generation": 0}', 400, "generation is missing or not"),
        (b'{"circuit": "c", "generation": 1e3}', 400, "generation is missing or not"),
        (b'{"circuit": "c", "generation": 1}', 400, "callbackUrl is missing"),
        (b'{"circuit": "c", "generation": 1, "openedAt": 5}', 400, "openedAt is not a time"),
        (b'{"circuit": "c", "generation": 1, "openedAt": "now"}', 400, "openedAt is not a time"),
        (b'{"circuit": "c", "generation": 1, "openedAt": "2026-01-01T00:00"}', 400, "time zone"),
        (b'{"circuit": "c", "generation": 1, "openedAt": "0001-01-01T00:00+23:59"}', 400, "zone"),
        (
            b'{"circuit": "c", "generation": 1, "callbackUrl": "http://localhost/", "run": 5}',
            400,
            "run is missing, blank or not a text",
        ),
        (
            b'{"circuit": "c", "generation": 1, "callbackUrl": "http://localhost/", '
            b'"waitsFor": "x"}',
            400,
            "waitsFor is not one of approval, start",
        ),
        (b"x" * 20_000, 413, "the body has more than 16384 bytes"),
    ],
)
async def test_invalid_registration_is_refused_with_the_reason(
    console: httpx.AsyncClient, body: bytes, status: int, message: str
) -> None:
    """The error is JSON and names the invalid field."""
    answer = await console.post("/api/approvals", content=body)
    assert answer.status_code == status
    assert message in answer.json()["error"]


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("http://169.254.169.254/metadata", 403),
        ("https://example.com/", 403),
        ("http://127.0.0.1.example.com/", 403),
        ("http://localhost@example.com/", 400),
        ("http://user@127.0.0.1/", 400),
        ("file:///etc/passwd", 400),
        ("//127.0.0.1/", 400),
        ("http://[::1", 400),
        ("http://127.0.0.1:99999/", 409),
    ],
)
async def test_only_listed_hosts_are_called(
    console: httpx.AsyncClient, url: str, status: int
) -> None:
    """A callback cannot reach other hosts of the network."""
    body = {"circuit": "c", "generation": 1, "callbackUrl": url}
    answer = await console.post("/api/approvals", json=body)
    assert answer.status_code == status
    assert "callback" in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/api/circuits/other", 404),
        ("GET", "/api/circuits/c/approve", 405),
        ("DELETE", "/api/approvals", 405),
    ],
)
async def test_wrong_paths_answer_in_json(
    console: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    """A GET request never approves."""
    answer = await console.request(method, path)
    assert (answer.status_code, "error" in answer.json()) == (status, True)


@pytest.mark.parametrize("by", ["", "  ", 5, None, "x" * 201, "a\nb"])
async def test_an_approval_needs_a_name(console: httpx.AsyncClient, by: object) -> None:
    """The name enters the history, so it is bounded and printable."""
    answer = await console.post("/api/circuits/c/approve", json={"generation": 1, "by": by})
    assert (answer.status_code, "by " in answer.json()["error"]) == (400, True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"CONSOLE_TOKEN": ""}, "CONSOLE_TOKEN is missing"),
        ({"CONSOLE_TOKEN": TOKEN, "CONSOLE_CALLBACK_HOSTS": "https://h"}, "it takes host names"),
        ({"CONSOLE_TOKEN": TOKEN, "CONSOLE_DELIVERY_SECONDS": "soon"}, "SECONDS is 'soon'"),
        ({"CONSOLE_TOKEN": TOKEN, "CONSOLE_DELIVERY_SECONDS": "0"}, "from 0.1 to 3600"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, str], message: str) -> None:
    """The message names the setting and the accepted values."""
    with pytest.raises(ConsoleSettingsError, match=message):
        ConsoleSettings.from_mapping(settings)


REGISTRATION = {
    "circuit": "c",
    "generation": 1,
    "callbackUrl": "http://localhost/",
    "run": "0858",
}
STOP = {"status": "Failed", "code": 409, "at": "2027-01-15T08:00:00.1234567Z"}


async def test_registration_says_what_was_seen_of_the_stop(
    console: httpx.AsyncClient, breaker: CircuitBreaker
) -> None:
    """A run that comes again with the same stop adds nothing to the history."""
    body = REGISTRATION | {"waitsFor": "approval", "stop": STOP, "start": None}
    for _ in range(2):
        answer = await console.post("/api/approvals", json=body)
        assert (answer.status_code, answer.json()["status"]) == (202, "waiting")
    status = await breaker.approvals.status()
    assert status.stop == Step(
        StepKind.STOP,
        1,
        accepted=False,
        detail="HTTP 409",
        at=1_800_000_000.123456,
        by="workflow run 0858",
    )
    assert [(each.run, each.waits_for) for each in status.waiting] == [("0858", WaitsFor.APPROVAL)]
    events = [entry.event for entry in await breaker.history()]
    assert events == ["approval_requested", "stop_refused"]


@pytest.mark.parametrize(
    ("stop", "message"),
    [
        (5, "stop is not an object"),
        ({"status": ""}, "status is missing"),
        (STOP | {"at": ""}, "at is not a time"),
        (STOP | {"at": None}, "stop has no time"),
        (STOP | {"code": "409"}, "not an HTTP status"),
        (STOP | {"code": 99}, "not an HTTP status"),
    ],
)
async def test_an_invalid_step_is_refused_but_does_not_prevent_a_registration(
    console: httpx.AsyncClient, breaker: CircuitBreaker, stop: object, message: str
) -> None:
    """The app may be stopped already, so an approval must be possible."""
    answer = await console.post("/api/approvals", json=REGISTRATION | {"stop": stop})
    assert answer.status_code == 202
    assert (await breaker.approvals.status()).stop is None
    report = {"circuit": "c", "generation": 1, "run": "0858", "stop": stop}
    answer = await console.post("/api/approvals/steps", json=report)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


async def test_a_start_is_put_on_record(
    console: httpx.AsyncClient, breaker: CircuitBreaker
) -> None:
    """The run ends then, so it waits for nothing any more."""
    await console.post("/api/approvals", json=REGISTRATION | {"waitsFor": "start"})
    report = {"circuit": "c", "generation": 1, "run": "0858"}
    start = {"status": "Succeeded", "code": None, "at": "2027-01-15T08:00:00Z"}
    answer = await console.post(
        "/api/approvals/steps", json=report | {"start": start, "ended": True}
    )
    assert answer.status_code == 200
    assert (await breaker.approvals.status()).waiting == ()
    found = (await breaker.approvals.status()).start
    assert found == Step(
        StepKind.START, 1, accepted=True, detail="", at=1_800_000_000.0, by="workflow run 0858"
    )
