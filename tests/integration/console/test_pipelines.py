"""Two instances of a console over two pipelines on one Redis, composed from the app's settings."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from redis.asyncio import Redis
from websockets.asyncio.client import connect

from breaker import BreakerSettings, CircuitBreaker, Permit, RedisCircuitStore
from breaker.configuration.pipelines import pipelines_of
from console.composition import compose, shared_coordination
from console.settings import ConsoleSettings
from processing.circuit_wiring import CircuitWiring
from tests.support.console.server import (
    BEARER,
    TOKEN,
    next_items,
    next_message,
    resume,
    serving,
)
from tests.support.patience import HANG_SECONDS, STORE_SECONDS


async def test_page_of_one_instance_shows_the_pipelines_that_another_serves(redis_url: str) -> None:
    """State, incident log and approval of each pipeline go through its own keys in Redis."""
    values = {
        "REDIS_URL": redis_url,
        "PIPELINES": "orders,audit",
        "PIPELINE_ORDERS_STOPS_APP": "true",
        "BREAKER_NAME": "c",
        "BREAKER_FAILURE_THRESHOLD": "1",
        "BREAKER_STORE_TIMEOUT_SECONDS": f"{STORE_SECONDS}",
    }
    own = ConsoleSettings(token=TOKEN)
    orders = BreakerSettings(name="c-orders", failure_threshold=1)
    async with (
        asyncio.timeout(HANG_SECONDS),
        Redis.from_url(redis_url) as client,
        serving(compose(values, own), own) as one,
        serving(compose(values, own), own) as two,
        connect(
            f"{two.url.replace('http', 'ws')}/pipelines/audit/live", additional_headers=BEARER
        ) as live,
    ):
        await resume(live)
        await next_message(live, "snapshot")
        async with CircuitBreaker(RedisCircuitStore(client, orders.name), orders) as breaker:
            await breaker.record_failure("x", "boom", Permit(breaker.circuit.generation))
        rows: list[dict[str, Any]] = []
        while [each["state"] for each in rows] != ["open", "closed"]:
            rows = (await next_message(live, "pipelines"))["items"]
        assert [(each["circuit"], each["kind"]) for each in rows] == [
            ("c-orders", "app"),
            ("c-audit", "pipeline"),
        ]

        api = await one.api()
        line = {"text": "on it", "by": "ann"}
        for name in ("orders", "audit"):
            body = line | {"text": f"on {name}"}
            assert (await api.post(f"/pipelines/{name}/api/log", json=body)).status_code == 201
        (item,) = await next_items(live, "log", 1)
        assert item["data"]["text"] == "on audit"
        path = "/pipelines/orders/api/circuits/c-orders/approve"
        approved = await api.post(path, json={"generation": 1, "by": "ann"})
        assert (approved.status_code, approved.json()["state"]) == (200, "half_open")
        other = await api.get("/pipelines/audit/api/circuits/c-audit")
        assert (other.json()["state"], other.json()["generation"]) == ("closed", 0)


async def test_apps_whose_hubs_are_set_per_pipeline_share_nothing(redis_url: str) -> None:
    """Both have the default name of the circuit; two instances of one app do share the lease."""
    connection = "Endpoint=sb://h/;SharedAccessKeyName=n;SharedAccessKey=a2V5"
    async with AsyncExitStack() as opened:
        granted: list[bool] = []
        for hub in ("a", "b", "a"):
            values = {
                "REDIS_URL": redis_url,
                "PIPELINES": "orders,audit",
                "PIPELINE_ORDERS_EVENT_HUB_NAME": f"{hub}-orders",
                "PIPELINE_AUDIT_EVENT_HUB_NAME": f"{hub}-audit",
                "EventHubConnection": connection,
                "AzureWebJobsStorage": "UseDevelopmentStorage=true",
                "BREAKER_STORE_TIMEOUT_SECONDS": f"{STORE_SECONDS}",
            }
            wiring = CircuitWiring(pipelines_of(values)[0].settings, opened)
            assert wiring.app
            shared = shared_coordination(values, opened, wiring)
            granted.append(await shared.acquire("rewind", f"of {hub}, {len(granted)}", 60))
        assert granted == [True, True, False]
