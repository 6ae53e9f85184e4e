"""A Redis user without channel rights: all transitions succeed, and instances poll."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import redis

from breaker import BreakerSettings, CircuitBreaker, CircuitState, RedisCircuitStore
from breaker.stores import lua
from tests.support.patience import HANG_SECONDS, STORE_SECONDS

SETTINGS = BreakerSettings(
    name="c", failure_threshold=2, poll_seconds=0.02, store_timeout_seconds=STORE_SECONDS
)


@pytest.fixture
def silent_user_url(redis_url: str) -> Iterator[str]:
    """Yield the address for a user who may run each command, but use no channel."""
    with redis.Redis.from_url(redis_url) as admin:
        admin.execute_command(
            "ACL SETUSER", "mute", "reset", "on", ">secret", "~*", "+@all", "resetchannels"
        )
        try:
            yield redis_url.replace("redis://", "redis://mute:secret@")
        finally:
            admin.acl_deluser("mute")


async def test_transitions_succeed_without_channel_rights(silent_user_url: str) -> None:
    """The opening, the approval and the closing are written, so they must not fail."""
    with (
        redis.Redis.from_url(silent_user_url) as client,
        pytest.raises(redis.exceptions.NoPermissionError),
    ):
        client.publish("breaker:{c}:changes", "x")
    one, two = (
        CircuitBreaker(RedisCircuitStore.from_settings(silent_user_url, SETTINGS), SETTINGS)
        for _ in range(2)
    )
    async with one, two:
        for number in range(2):
            permit = await one.try_acquire()
            await one.record_failure(f"{number}", "boom", permit)
        assert one.circuit.state is CircuitState.OPEN
        assert not one.circuit.degraded
        async with asyncio.timeout(HANG_SECONDS):
            while two.circuit.state is not CircuitState.OPEN:
                await asyncio.sleep(0.01)
        assert (await two.approve(1, "ann")).state is CircuitState.HALF_OPEN
        assert (await two.close_circuit(1, "ann")).state is CircuitState.CLOSED
        assert (await two.isolate("ann", "enough")).state is CircuitState.ISOLATED
        assert not two.circuit.degraded


@pytest.mark.parametrize("name", sorted(lua.sources()))
def test_scripts_do_not_fail_when_publishing_fails(name: str) -> None:
    """Redis runs PUBLISH last, after the writes, which it does not take back."""
    assert "redis.call('PUBLISH'" not in lua.sources()[name]
