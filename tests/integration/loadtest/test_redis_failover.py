"""The faults of a Redis with a replica, on real servers behind the proxy, and their watch."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError, RedisError, ResponseError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from loadtest.faults import redis_failover
from loadtest.faults.redis_failover import RedisFailover
from loadtest.observe import instances
from loadtest.plan.chaos import FaultKind, PlannedFault
from loadtest.target.endpoints import Endpoints
from local.redis_proxy.control import control_app
from local.redis_proxy.proxy import SwitchingProxy
from local.web import Server
from tests.support.patience import HANG_SECONDS
from tests.support.redis_pair import Pair, proxied, running_pair

STAYS, MUTED, CUT = 0.1, 0.7, 0.9
"""Choices of the fate of open connections."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with running_pair(tmp_path_factory.mktemp("pair")) as pair:
        yield pair


@dataclass
class Rig:
    """The faults, and an instance whose health is what Redis says to a write of its own.

    Attributes:
        endpoints: the addresses.
        proxy: the proxy in front of the pair.
        faults: the faults.
        released: the number of times that the sender was released.
        client: the instance's client, with one connection that stays open.
    """

    endpoints: Endpoints
    proxy: SwitchingProxy
    client: redis.asyncio.Redis
    released: int = 0
    faults: RedisFailover = field(init=False)

    def __post_init__(self) -> None:
        self.faults = RedisFailover(self.endpoints, self._release)

    def _release(self) -> None:
        self.released += 1

    async def health(self, _: Request) -> Response:
        """Report the instance as degraded if a write fails, and open a new connection then."""
        problems = []
        try:
            await self.client.set("instance", 1)
        except RedisError as error:
            # The client leaves this code out of its error's text.
            code = "READONLY" if isinstance(error, ReadOnlyError) else type(error).__name__
            problems = [f"{code}: {error}"]
            await self.client.connection_pool.disconnect()
        status = "degraded" if problems else "ok"
        report = {"status": status, "circuit": {"degraded": bool(problems)}, "problems": problems}
        return JSONResponse(report)


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(app, listener)
    port: int = listener.getsockname()[1]
    await server.start()
    try:
        yield port
    finally:
        await server.stop()


@pytest.fixture
async def rig(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr(redis_failover, "_TRAFFIC_SECONDS", 0.0)
    monkeypatch.setattr(instances, "_QUIET_SECONDS", 0.0)
    monkeypatch.setattr(instances, "_POLL_SECONDS", 0.01)
    async with proxied(pair) as (proxy, url), serving(control_app(proxy)) as control:
        client = redis.asyncio.Redis.from_url(url, socket_timeout=0.2, retry=Retry(NoBackoff(), 0))
        values: dict[str, Any] = dict.fromkeys(
            (
                *("storage_connection_string", "event_hub_connection", "event_hub_name"),
                *("event_grid_topic_endpoint", "cloud_url", "management_url", "workflow_url"),
                "poison_queue",
            ),
            "x",
        )
        endpoints = Endpoints(
            **values,
            redis_url=url,
            settings_file=tmp_path / "settings",
            state_dir=tmp_path,
            redis_servers=tuple(f"redis://127.0.0.1:{port}/0" for port in pair.ports),
            redis_proxy_control_url=f"http://127.0.0.1:{control}",
        )
        rig = Rig(endpoints, proxy, client)
        async with client, serving(Starlette(routes=[Route("/api/health", rig.health)])) as port:
            (tmp_path / "hosts").mkdir()
            host = {"pid": os.getpid(), "instance": "one", "port": port}
            (tmp_path / "hosts" / "one.json").write_text(json.dumps(host))
            await client.set("instance", 0)
            async with asyncio.timeout(HANG_SECONDS):
                yield rig
    assert pair.client(0).role()[0] == b"master", "a failover and one back"


async def test_failover_there_and_back_loses_no_write_and_is_seen(rig: Rig) -> None:
    for number, choice in enumerate((STAYS, CUT)):
        await rig.client.set(f"before {number}", 1)
        fault = PlannedFault(FaultKind.REDIS_FAILED_OVER, 0, seconds=0.1, choice=choice)
        detail = await rig.faults.fail_over(fault)
        assert detail.startswith(f"server {1 - number} is the primary, and has the address 0.1 s")
        absence = rig.faults.absences[number]
        assert absence.began_us < absence.ended_us
        assert absence.degraded_us["one"] > absence.began_us
        assert absence.named_us["one"] > absence.began_us
        async with redis.asyncio.Redis.from_url(rig.endpoints.redis_url) as other:
            assert await other.get(f"before {number}") == b"1"
            assert (await other.role())[0] == b"master"
    assert rig.released == 2


async def test_replica_that_is_gone_stops_all_writes_until_it_is_back(rig: Rig) -> None:
    fault = PlannedFault(FaultKind.REDIS_WITHOUT_REPLICA, 0, seconds=0.3)
    losing = asyncio.create_task(rig.faults.lose_replica(fault))
    async with redis.asyncio.Redis.from_url(rig.endpoints.redis_url) as other:
        with pytest.raises(ResponseError, match="NOREPLICAS"):
            while not losing.done():
                await other.set("other", 1)
        assert "no replica for " in await losing
        assert await other.set("other", 1)
    [absence] = rig.faults.absences
    assert absence.word == "NOREPLICAS"
    assert absence.named_us["one"] < absence.ended_us


@pytest.mark.parametrize("seconds", [0.0, 0.3])
async def test_muted_connections_are_counted_and_the_instance_recovers(
    rig: Rig, seconds: float
) -> None:
    async with redis.asyncio.Redis.from_url(
        rig.endpoints.redis_url, socket_timeout=0.2, single_connection_client=True
    ) as other:
        await other.ping()
        detail = await rig.faults.mute(
            PlannedFault(FaultKind.REDIS_MUTED, 0, seconds=seconds, choice=MUTED)
        )
        assert int(detail.split()[0]) >= 2, "the instance's connection and this one"
        assert not _mutes_new(rig.proxy)
    [absence] = rig.faults.absences
    assert absence.degraded_us["one"] > absence.began_us
    assert (absence.seconds >= seconds, absence.named_us) == (True, {})


def _mutes_new(proxy: SwitchingProxy) -> bool:
    return proxy.mutes_new
