"""Logout, revoked sessions, and attempts to log in."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from breaker import BreakerSettings, CircuitBreaker, MemoryCircuitStore
from console.access import revoked_sessions as module
from console.access.revoked_sessions import REVOKED, RevokedSessions
from console.access.session import Sessions
from console.app import create_app
from console.backplane.coordination import MemoryCoordination
from console.backplane.stream import MemoryBackplane
from console.errors import CoordinationError
from console.live import fanout
from console.settings import ConsoleSettings
from tests.support.console.server import (
    TOKEN,
    Served,
    close_code,
    next_message,
    resume,
    serving,
    serving_memory,
)
from tests.support.patience import HANG_SECONDS


@asynccontextmanager
async def fleet(count: int) -> AsyncIterator[list[Served]]:
    """Run instances that share coordination and backplane, as real ones do in Redis."""
    coordination = MemoryCoordination()
    backplane = MemoryBackplane(coordination)
    async with AsyncExitStack() as running:
        served = []
        for _ in range(count):
            breaker = CircuitBreaker(MemoryCircuitStore("c"), BreakerSettings(name="c"))
            own = ConsoleSettings(token=TOKEN)
            app = create_app(breaker, own, coordination=coordination, backplane=backplane)
            served.append(await running.enter_async_context(serving(app, own)))
        yield served


async def test_logout_revokes_the_session_on_all_instances(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copied cookie is refused, and the session's WebSockets are closed."""
    monkeypatch.setattr(module, "SECONDS", 0.02)
    monkeypatch.setattr(fanout, "BEAT_SECONDS", 0.05)
    async with fleet(2) as (one, two):
        browser, other = await one.browser("ann"), await one.browser("ann")
        headers = {"Cookie": browser.cookie}
        live = f"{two.url.replace('http', 'ws')}/live"
        async with (
            httpx.AsyncClient(base_url=two.url, headers=headers) as copy,
            connect(live, additional_headers=headers | {"Origin": two.url}) as socket,
        ):
            await resume(socket)
            await next_message(socket, "snapshot")
            assert (await copy.get("/api/session")).status_code == 200
            answer = await browser.client.post("/logout", headers=browser.act)
            assert (answer.status_code, answer.json()) == (200, {"next": "/login"})
            assert f'{Sessions(TOKEN).cookie}=""' in answer.headers["set-cookie"]
            assert await close_code(socket) == 4401
            assert (await copy.get("/api/session")).status_code == 401
            here = await other.client.get(f"{one.url}/api/session", headers=headers)
            assert here.status_code == 401
        # Another session of the same operator stays valid.
        assert (await other.client.get("/api/session")).json()["operator"] == "ann"


async def test_new_instance_loads_revoked_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sessions are loaded before the first request."""
    coordination = MemoryCoordination()
    await RevokedSessions(coordination).revoke("s", time.time() + 60)
    later = RevokedSessions(coordination)
    await later.load()
    assert "s" in later


class UnreliableCoordination(MemoryCoordination):
    """Coordination that can be unavailable."""

    away = False

    async def add(self, name: str, item: str, until: float) -> None:
        if self.away:
            raise CoordinationError("away")
        await super().add(name, item, until)

    async def members(self, name: str) -> dict[str, float]:
        if self.away:
            raise CoordinationError("away")
        return await super().members(name)


async def test_revocation_outlives_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other instances get the revocation when Redis is back, even when Redis is then empty."""
    monkeypatch.setattr(module, "SECONDS", 0.002)
    coordination = UnreliableCoordination()
    here, there = RevokedSessions(coordination), RevokedSessions(coordination)
    tasks = [asyncio.create_task(each.follow()) for each in (here, there)]
    coordination.away = True
    await here.load()
    await here.revoke("s", time.time() + 60)
    assert "s" in here
    await asyncio.sleep(0.02)
    assert "s" not in there
    coordination.away = False
    async with asyncio.timeout(HANG_SECONDS):
        while "s" not in there:
            await asyncio.sleep(0.002)
        coordination._sets.clear()
        while "s" not in await coordination.members(REVOKED):
            await asyncio.sleep(0.002)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_expired_session_is_dropped_from_the_revoked() -> None:
    """No revocation is kept longer than the cookie is valid."""
    now = [time.time() - 100]
    sessions = RevokedSessions(MemoryCoordination(), lambda: now[0])
    await sessions.revoke("s", now[0] + 50)
    await sessions.load()
    assert "s" in sessions
    now[0] += 50
    await sessions.load()
    assert "s" not in sessions


async def test_second_login_ends_the_first_session() -> None:
    """A login needs no CSRF token of the earlier session, whatever the operator's name."""
    async with serving_memory() as served:
        browser = await served.browser("ann")
        before = browser.cookie
        body = {"token": TOKEN, "name": "bob"}
        answer = await browser.client.post("/login", json=body, headers={"Origin": served.url})
        assert answer.status_code == 204, answer.text
        assert (await browser.client.get("/api/session")).json()["operator"] == "bob"
        async with httpx.AsyncClient(base_url=served.url, headers={"Cookie": before}) as client:
            assert (await client.get("/api/session")).status_code == 401


async def test_consoles_on_one_host_do_not_sign_each_other_out() -> None:
    """Browsers share cookies between the ports of a host, so each console's cookie has a name."""
    async with (
        serving_memory() as one,
        serving_memory(token=f"{TOKEN}-another") as two,
        httpx.AsyncClient() as client,
    ):
        for served, name in ((one, "ann"), (two, "bob")):
            body = {"token": served.token, "name": name}
            assert (await client.post(f"{served.url}/login", json=body)).status_code == 204
        for served, name in ((one, "ann"), (two, "bob")):
            session = (await client.get(f"{served.url}/api/session")).json()
            assert session.get("operator") == name, session


async def test_logout_leads_to_azures_logout() -> None:
    """Otherwise Azure's login would sign the page in again with its next request."""
    async with serving_memory(easy_auth=True) as served:
        name = {"X-MS-CLIENT-PRINCIPAL-NAME": "ann@example.com"}
        async with httpx.AsyncClient(base_url=served.url, headers=name) as client:
            csrf = (await client.get("/api/session")).json()["csrf"]
            act = {"Origin": served.url, "X-CSRF-Token": csrf}
            answer = await client.post("/logout", headers=act)
            assert answer.json() == {"next": "/.auth/logout"}


class SlowCoordination(MemoryCoordination):
    """Coordination that takes a while, as Redis does."""

    async def increment(self, name: str, seconds: int) -> int:
        await asyncio.sleep(0.02)
        return await super().increment(name, seconds)


async def test_parallel_logins_do_not_exceed_the_limit() -> None:
    """Each attempt is counted before its token is checked."""
    breaker = CircuitBreaker(MemoryCircuitStore("c"), BreakerSettings(name="c"))
    app = create_app(breaker, ConsoleSettings(token=TOKEN), coordination=SlowCoordination())
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:

        async def wrong() -> int:
            answer = await client.post("/login", json={"token": "wrong", "name": "eve"})
            return answer.status_code

        codes = await asyncio.gather(*(wrong() for _ in range(50)))
        assert sorted(codes) == [401] * 10 + [429] * 40


async def test_successful_logins_are_not_limited() -> None:
    """Twenty operators sign in within a minute from one address."""
    async with serving_memory() as served:
        for number in range(21):
            await served.browser(f"operator {number}")


async def test_one_ipv6_network_counts_as_one_client() -> None:
    """A client with one IPv6 address usually owns a whole network."""
    async with (
        serving_memory(proxies=("*",)) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        codes = []
        for number in range(11):
            own = {"X-Forwarded-For": f"192.0.2.{number}, 2001:db8::{number:x}"}
            body = {"token": "wrong", "name": "eve"}
            codes.append((await client.post("/login", json=body, headers=own)).status_code)
        assert codes == [401] * 10 + [429]


HTTPS = {"X-Forwarded-Proto": "https"}


async def test_http_origin_is_foreign_to_an_https_console() -> None:
    """Responses over https set HSTS, because a page sent over http may be forged."""
    async with serving_memory(proxies=("127.0.0.1",)) as served:
        browser = await served.browser()
        own = served.url.replace("http", "https")
        for origin, status in ((own, 201), (served.url, 403)):
            headers = browser.act | HTTPS | {"Origin": origin}
            answer = await browser.client.post("/api/log", json={"text": "x"}, headers=headers)
            assert answer.status_code == status
            assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert "strict-transport-security" not in (await browser.client.get("/")).headers


@pytest.mark.parametrize("headers", [HTTPS, {}])
async def test_cookie_over_https_is_secure(headers: dict[str, Any]) -> None:
    """The Origin header shows https even when the balancer's headers are not trusted."""
    async with (
        serving_memory(proxies=("127.0.0.1",)) as served,
        httpx.AsyncClient(base_url=served.url) as client,
    ):
        origin = {"Origin": served.url.replace("http", "https")}
        body = json.dumps({"token": TOKEN, "name": "ann"})
        answer = await client.post("/login", content=body, headers=headers | origin)
        assert "; secure" in answer.headers["set-cookie"].lower()
