"""Attacks on the console through each of its interfaces."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import AsyncIterator

import httpx
import pytest
from websockets.asyncio.client import connect

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore
from console.access.session import Sessions
from console.app import create_app
from console.settings import ConsoleSettings
from tests.support.console.server import (
    TOKEN,
    Served,
    close_code,
    next_items,
    next_message,
    resume,
    serving_memory,
)

XSS = "<img src=x onerror=alert(1)></script>"
ACTS = [
    ("/api/circuits/c/approve", {"generation": 1, "by": "eve"}),
    ("/api/circuits/c/close", {"generation": 1, "by": "eve"}),
    ("/api/circuits/c/isolate", {"reason": "eve", "by": "eve"}),
    ("/api/log", {"text": "eve was here", "by": "eve"}),
    ("/api/redrive", {"all": True, "by": "eve"}),
    ("/api/approvals", {"circuit": "c", "generation": 1, "callbackUrl": "http://localhost/"}),
    ("/logout", {}),
]


@pytest.fixture
async def console() -> AsyncIterator[Served]:
    async with serving_memory() as served:
        yield served


async def test_everything_needs_a_session(console: Served) -> None:
    """Without a session there are no pages, actions or live connections; the login is public."""
    async with httpx.AsyncClient(base_url=console.url) as client:
        for path in (
            *("/static/main.js", "/static/index.html", "/vendor/uplot.js", "/api/session"),
            *("/api/poison", "/api/poison/x", "/api/parked", "/api/circuits/c/history"),
            *("/static/login.x/../main.js", "/static/login.%2f..%2fmain.js", "/nowhere"),
        ):
            answer = await client.get(path)
            assert answer.status_code == 401, path
            assert "error" in answer.json()
        for path, body in ACTS:
            assert (await client.post(path, json=body)).status_code == 401, path
        assert (await client.get("/")).headers["location"] == "/login"
        for path in ("/login", "/static/login.js", "/healthz"):
            assert (await client.get(path)).status_code == 200, path
    live = f"{console.url.replace('http', 'ws')}/live"
    for headers in ({}, {"Cookie": f"{Sessions(TOKEN).cookie}=x.y"}, {"Authorization": "Bearer x"}):
        async with connect(live, additional_headers=headers) as socket:
            assert await close_code(socket) == 4401


FOREIGN: list[dict[str, str]] = [
    {},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://[::1"},
    {"X-CSRF-Token": "right"},
    {"Origin": "own", "X-CSRF-Token": "wrong"},
    {"Origin": "own", "X-CSRF-Token": "é"},
    {"Origin": "own"},
    {"Origin": "https://evil.example", "X-CSRF-Token": "right"},
]


async def test_a_foreign_page_cannot_act(console: Served) -> None:
    """The browser sends the cookie, but Origin and CSRF token are wrong."""
    browser = await console.browser()
    real = {"own": console.url, "right": browser.csrf}
    for headers in FOREIGN:
        sent = [(name.encode(), real.get(value, value).encode()) for name, value in headers.items()]
        for path, body in ACTS:
            answer = await browser.client.post(path, json=body, headers=sent)
            assert answer.status_code == 403, (path, headers)
    shown = await browser.client.get("/api/circuits/c")
    assert (shown.json()["state"], shown.json()["generation"]) == ("closed", 0)


async def test_a_foreign_page_cannot_open_a_websocket(console: Served) -> None:
    """A cross-site WebSocket carries the cookie, but a foreign Origin."""
    browser = await console.browser()
    for origin in ("https://evil.example", "null", f"{console.url}.evil.example"):
        async with browser.live(Origin=origin) as live:
            assert await close_code(live) == 4403
    headers = {"Cookie": browser.cookie}
    async with connect(
        f"{console.url.replace('http', 'ws')}/live", additional_headers=headers
    ) as live:
        assert await close_code(live) == 4403


OWN = [
    ("https://console.example", "console.example:443"),
    ("https://console.example", "console.example:80"),
    ("http://console.example", "console.example:80"),
    ("https://console.example", "console.example.:443"),
    ("https://Console.Example.", "CONSOLE.example"),
    ("https://[::1]", "[::1]:443"),
    ("https://xn--bcher-kva.example", "bücher.example:443"),
    ("https://ops.example", "10.0.0.7:8080"),
]
"""Origins of the console's own pages, and the Host header that a proxy sends for them."""


@pytest.mark.parametrize(("origin", "host"), OWN)
async def test_an_own_page_can_act_behind_a_proxy(origin: str, host: str) -> None:
    """The proxy may add the default port to Host; login, actions and the socket work."""
    async with (
        serving_memory(origins=("https://ops.example:443",)) as console,
        httpx.AsyncClient(base_url=console.url) as client,
    ):
        sent = [(b"Origin", origin.encode()), (b"Host", host.encode())]
        body = {"token": TOKEN, "name": "ann"}
        answer = await client.post("/login", json=body, headers=sent)
        assert answer.status_code == 204, answer.text
        # The client's own cookie jar would keep a secure cookie from a plain connection.
        cookie = answer.headers["set-cookie"].partition(";")[0]
        session = await client.get("/api/session", headers={"Cookie": cookie})
        acting = [(b"Cookie", cookie.encode()), (b"X-CSRF-Token", session.json()["csrf"].encode())]
        answer = await client.post("/api/log", json={"text": "here"}, headers=[*sent, *acting])
        assert answer.status_code == 201, answer.text
        port = int(console.url.rpartition(":")[2])
        headers = {"Cookie": cookie, "Origin": origin}
        address = f"ws://{host}/live"
        async with connect(
            address, host="127.0.0.1", port=port, additional_headers=headers, proxy=None
        ) as live:
            await resume(live)
            await next_message(live, "snapshot")


async def test_plain_page_of_a_console_over_https_cannot_act() -> None:
    """An attacker on the network can change pages that come over http."""
    async with (
        serving_memory(proxies=("127.0.0.1",)) as console,
        httpx.AsyncClient(base_url=console.url) as client,
    ):
        sent = {"X-Forwarded-Proto": "https", "Origin": "http://x", "Host": "x:443"}
        body = {"token": TOKEN, "name": "eve"}
        assert (await client.post("/login", json=body, headers=sent)).status_code == 403
        sent["Origin"] = "https://x"
        assert (await client.post("/login", json=body, headers=sent)).status_code == 204


async def test_a_foreign_page_cannot_log_in(console: Served) -> None:
    """A foreign page cannot make an operator act under another name."""
    async with httpx.AsyncClient(base_url=console.url) as client:
        body = {"token": TOKEN, "name": "eve"}
        answer = await client.post("/login", json=body, headers={"Origin": "https://evil.example"})
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


async def test_ten_wrong_tokens_block_the_login(console: Served) -> None:
    """Then the right token has to wait as well, and no response contains the token."""
    async with httpx.AsyncClient(base_url=console.url) as client:
        for wrong in [*range(8), None, "é" * 20]:
            answer = await client.post("/login", json={"token": wrong, "name": "eve"})
            assert answer.status_code == 401
            assert "set-cookie" not in answer.headers
        for token in ("wrong", TOKEN):
            answer = await client.post("/login", json={"token": token, "name": "eve"})
            assert answer.status_code == 429
            assert answer.headers["retry-after"] == "60"
        forwarded = {"X-Forwarded-For": "203.0.113.9"}
        answer = await client.post(
            "/login", json={"token": TOKEN, "name": "eve"}, headers=forwarded
        )
        assert answer.status_code == 429
        assert TOKEN not in answer.text


async def test_scripts_and_foreign_pages_cannot_use_the_cookie(console: Served) -> None:
    """The cookie is HttpOnly and SameSite=Strict, and Secure only over https."""
    async with httpx.AsyncClient(base_url=console.url) as client:
        answer = await client.post("/login", json={"token": TOKEN, "name": "ann"})
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "secure" not in cookie


async def test_headers_of_a_listed_balancer_are_trusted() -> None:
    """Https at the balancer makes the cookie secure; each client address has its own count."""
    async with (
        serving_memory(proxies=("127.0.0.1",), origins=("https://ops.example",)) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        forwarded = {"X-Forwarded-Proto": "https", "Origin": "https://ops.example"}
        body = {"token": TOKEN, "name": "ann"}
        for _ in range(10):
            eve = {"X-Forwarded-For": "203.0.113.9"}
            await client.post("/login", json=body | {"token": "x"}, headers=eve)
        assert (await client.post("/login", json=body, headers=eve)).status_code == 429
        ann = forwarded | {"X-Forwarded-For": "203.0.113.10"}
        answer = await client.post("/login", json=body, headers=ann)
        assert answer.status_code == 204
        assert "; secure" in answer.headers["set-cookie"].lower()


PATHS = [
    "/static/../settings.py",
    "/static/%2e%2e/settings.py",
    "/static/..%2fsettings.py",
    "/static/..%5csettings.py",
    "/static/....//settings.py",
    "/static//etc/passwd",
    "/static/%2fetc%2fpasswd",
    "/static/login.js%00.png",
    "/vendor/../console/settings.py",
    "/vendor/uPlot.d.ts",
]


async def test_only_files_of_the_page_are_served(console: Served) -> None:
    """Encoded and relative paths do not leave the folder."""
    client = await console.api()
    for path in PATHS:
        raw = httpx.URL(console.url).copy_with(raw_path=path.encode())
        answer = await client.send(client.build_request("GET", raw))
        assert answer.status_code in {404, 405}, answer.text
        assert "ConsoleSettings" not in answer.text


async def test_every_response_has_the_security_headers(console: Served) -> None:
    """Pages, data, refusals and errors have the headers."""
    client = await console.api()
    for path in ("/", "/login", "/api/session", "/nowhere", "/healthz", "/static/login.js"):
        headers = (await client.get(path)).headers
        assert "default-src 'self'" in headers["content-security-policy"], path
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] in {"no-store", "no-cache"}
        assert "server" not in headers
    assert (await client.get("/api/session")).headers["cache-control"] == "no-store"


async def test_markup_stays_data(console: Served) -> None:
    """Names and log lines are JSON data in every response, never markup."""
    browser = await console.browser(XSS)
    async with browser.live() as live:
        await resume(live)
        answer = await browser.client.post("/api/log", json={"text": XSS}, headers=browser.act)
        assert answer.headers["content-type"] == "application/json"
        (item,) = await next_items(live, "log", 1)
        assert (item["data"]["by"], item["data"]["text"]) == (XSS, XSS)
    answer = await browser.client.get(f"/api/circuits/{XSS}")
    assert answer.headers["content-type"] == "application/json"


async def test_only_api_callers_name_the_operator(console: Served) -> None:
    """With a session the field `by` is ignored."""
    client, browser = await console.api(), await console.browser()
    assert (await client.post("/api/log", json={"text": "x"})).status_code == 400
    assert (await client.post("/api/log", json={"text": "x", "by": "flow"})).status_code == 201
    body = {"text": "y", "by": "root"}
    async with browser.live() as live:
        await resume(live)
        lines = (await next_message(live, "snapshot"))["data"]["log"]
        await browser.client.post("/api/log", json=body, headers=browser.act)
        lines += [item["data"] for item in await next_items(live, "log", 2 - len(lines))]
        assert [line["by"] for line in lines] == ["flow", "ann"]


@pytest.mark.parametrize("name", ["Jürgen Groß", "山田", "山田\u3000太郎"])
async def test_name_of_azures_login_arrives_as_it_is_spelled(name: str) -> None:
    """Also in the log, which all operators read."""
    shown = name.replace("\u3000", " ")
    async with (
        serving_memory(easy_auth=True) as console,
        httpx.AsyncClient(base_url=console.url) as client,
    ):
        own = [(b"X-MS-CLIENT-PRINCIPAL-NAME", name.encode())]
        session = (await client.get("/api/session", headers=own)).json()
        assert session["operator"] == shown
        acting = [(b"Origin", console.url.encode()), (b"X-CSRF-Token", session["csrf"].encode())]
        answer = await client.post("/api/log", json={"text": "x"}, headers=[*own, *acting])
        assert answer.status_code == 201, answer.text
        browser = await console.browser(name)
        assert (await browser.client.get("/api/session")).json()["operator"] == shown
        async with browser.live() as live:
            await resume(live)
            lines = (await next_message(live, "snapshot"))["data"]["log"]
            lines += [item["data"] for item in await next_items(live, "log", 1 - len(lines))]
            assert [line["by"] for line in lines] == [shown]


async def test_operator_of_many_groups_can_use_the_console() -> None:
    """Azure's login sends each group of the operator in one header, and Entra names up to 200."""
    groups = [{"typ": "groups", "val": str(uuid.uuid4())} for _ in range(200)]
    claims = [*groups, {"typ": "name", "val": "Jürgen Groß"}]
    document = json.dumps({"auth_typ": "aad", "claims": claims, "name_typ": "name"})
    own = {
        "X-MS-CLIENT-PRINCIPAL-NAME": "J?rgen Gro?",
        "X-MS-CLIENT-PRINCIPAL": base64.b64encode(document.encode()).decode(),
    }
    async with (
        serving_memory(easy_auth=True) as console,
        httpx.AsyncClient(base_url=console.url, headers=own) as client,
    ):
        answer = await client.get("/api/session")
        assert answer.status_code == 200, answer.text
        assert answer.json()["operator"] == "Jürgen Groß"
        address = f"{console.url.replace('http', 'ws')}/live"
        async with connect(address, additional_headers={**own, "Origin": console.url}) as live:
            await resume(live)
            await next_message(live, "snapshot")


async def test_easy_auth_needs_its_setting(console: Served) -> None:
    """Any client can send the header, so the header is trusted only behind Azure's login."""
    name = {"X-MS-CLIENT-PRINCIPAL-NAME": "ann@example.com"}
    async with httpx.AsyncClient(base_url=console.url, headers=name) as client:
        assert (await client.get("/api/session")).status_code == 401
    breaker = CircuitBreaker(MemoryCircuitStore("c"), BreakerSettings(name="c"))
    settings = ConsoleSettings(token=TOKEN, easy_auth=True)
    app = create_app(breaker, settings)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
        session = (await client.get("/api/session", headers=name)).json()
        assert session["operator"] == "ann@example.com"
        body = json.dumps({"reason": "r"})
        foreign = {**name, "X-CSRF-Token": session["csrf"], "Origin": "https://evil.example"}
        answer = await client.post("/api/circuits/c/isolate", content=body, headers=foreign)
        assert answer.status_code == 403
