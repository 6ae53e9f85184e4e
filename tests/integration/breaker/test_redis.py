"""The Redis store on a real Redis: round trips, keys, errors, connections."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from redis import UsernamePasswordCredentialProvider
from redis.asyncio import Redis
from redis.asyncio.connection import SSLConnection

from breaker import (
    BreakerSettings,
    CircuitBreaker,
    CircuitState,
    DependencyCircuits,
    DependencySettings,
    ManualClock,
    Permit,
    RedisCircuitStore,
    RedisDependencyStore,
    SettingsError,
    Step,
    StepKind,
    StoreUnavailableError,
    UnknownCircuitError,
)
from breaker.notes import Report
from breaker.state import SUCCESS_REPORTS, Change, Rules
from breaker.stores import lua
from breaker.stores.base import Registration
from breaker.stores.redis import connect
from breaker.stores.redis.runner import CONNECTIONS
from local.services.ports import free_port
from tests.support.breaker.unreliable_store import until
from tests.support.patience import HANG_SECONDS, STORE_SECONDS

SETTINGS = BreakerSettings(name="c", failure_threshold=3, half_open_permits=2, failure_ratio=0.9)
RULES = SETTINGS.rules("here:1")
OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"
BOUNDED = {"circuit", "outbox", "history", "samples"}


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisCircuitStore]:
    made = RedisCircuitStore(redis_url, "c", timeout_seconds=STORE_SECONDS)
    yield made
    await made.aclose()


class CountingStore(RedisCircuitStore):
    """A Redis store that counts its snapshots, which show the watcher's progress."""

    snapshots = 0

    async def snapshot(self, rules: Rules) -> Change:
        found = await super().snapshot(rules)
        self.snapshots += 1
        return found

    async def wait_until_watched(self) -> None:
        """Return once the watcher has subscribed and polled, and only waits."""
        async with asyncio.timeout(HANG_SECONDS):
            while self.snapshots < 3:  # of start, of the first poll, of the subscription
                await asyncio.sleep(0.01)


async def use_all_keys(store: RedisCircuitStore) -> None:
    """Use all keys of a circuit."""
    await store.record_successes(RULES, "r", 5, Permit(0))
    await store.report(RULES, Report("s", True, failed_attempts=3, keys=("k", "l"), running=("k",)))
    for number in range(3):
        await store.record_failure(RULES, f"{number}", "boom", Permit(0))
    await store.register_callback(RULES, Registration(1, "http://a/", "run"))
    await store.repeat_opened(RULES, 0, 0)
    await store.release_starts(RULES)
    await store.note_step(RULES, Step(StepKind.STOP, 1, accepted=True, detail="", at=1, by="run"))
    await store.approve(RULES, 1, "ann")
    await store.acquire(RULES, "p")
    await store.acquire(RULES, "q")
    await store.record_successes(RULES, "r", 1, Permit(1, "p"))
    await store.claim_alerts(RULES, "t", 30, 10)


async def test_keys_share_hash_tag_and_expire_or_are_bounded(
    redis_url: str, store: RedisCircuitStore
) -> None:
    """Scripts over several slots fail on Azure; an unused circuit must not fill the server."""
    await use_all_keys(store)
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        keys = set(client.scan_iter())
        assert all(key.startswith("breaker:{c}:") for key in keys)
        names = {key.removeprefix("breaker:{c}:") for key in keys}
        assert names >= {"circuit", "window", "samples", "successes", "probes", "probed"}
        assert names >= {"outbox", "outbox_claim", "history", "approvals", "chain", "reports"}
        assert names >= {"pace", "running", "probe_keys"}
        without_expiry = {
            key.removeprefix("breaker:{c}:") for key in keys if client.pttl(key) == -1
        }
        assert without_expiry == BOUNDED
        window_ttl = client.pttl("breaker:{c}:window")
        assert 30_000 < window_ttl <= 30_000 + 60_000


async def test_window_key_outlives_its_youngest_failure(
    redis_url: str, store: RedisCircuitStore
) -> None:
    """The expiry is renewed before it runs out, though not at each failure."""
    with redis.Redis.from_url(redis_url) as client:
        for number, left_ms in enumerate((30_001, 59_000, 61_000)):
            await store.record_failure(RULES, f"a{number}", "boom", Permit(0))
            began = time.monotonic()
            client.pexpire("breaker:{c}:window", left_ms)
            await store.record_failure(RULES, f"b{number}", "boom", Permit(0))
            left: Any = client.pttl("breaker:{c}:window")
            assert left >= 60_000 - 1_000 * (time.monotonic() - began)
            client.delete("breaker:{c}:window")


async def test_closing_removes_window_keys(redis_url: str, store: RedisCircuitStore) -> None:
    """Failures from before the closing cannot open the circuit again."""
    await use_all_keys(store)
    await store.record_successes(RULES, "r", 1, Permit(1, "q"))
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        names = {key.removeprefix("breaker:{c}:") for key in client.scan_iter()}
    kept = {"circuit", "history", "outbox", "outbox_claim", "approvals", "chain", "reports"}
    assert names == kept | {"pace", "running", "probe_keys"}


async def test_streams_and_samples_are_bounded(redis_url: str, store: RedisCircuitStore) -> None:
    """The bounds also hold if no alert is delivered."""
    rules = BreakerSettings(name="c", failure_threshold=50, history_limit=7).rules("here:1")
    for generation in range(1, 520):
        await store.isolate(rules, "ann", "x")
        await store.close(rules, generation, "ann", "y")
    for number in range(49):
        await store.record_failure(rules, f"{number}", "e" * 200, Permit(519))
    with redis.Redis.from_url(redis_url) as client:
        assert client.xlen("breaker:{c}:history") == 7
        assert client.xlen("breaker:{c}:outbox") == 1_000
        assert client.hlen("breaker:{c}:samples") == 5
        assert client.zcard("breaker:{c}:window") == 49


async def test_success_buckets_are_bounded(redis_url: str) -> None:
    """With steady work the key never expires, so old buckets must be removed."""
    clock = ManualClock(start=1_000.0)
    store = RedisCircuitStore(redis_url, "c", timeout_seconds=STORE_SECONDS, now_us=clock.now_us)
    with redis.Redis.from_url(redis_url) as client:
        for number in range(40):
            clock.advance(SETTINGS.window_seconds / 10)
            await store.record_successes(RULES, f"{number}", 1, Permit(0))
            assert client.hlen("breaker:{c}:successes") <= 11
            assert client.zcard("breaker:{c}:reports") <= 10
    await store.aclose()


async def test_success_reports_are_bounded(redis_url: str, store: RedisCircuitStore) -> None:
    """In a long window only the newest report ids are kept."""
    rules = BreakerSettings(name="c", failure_ratio=0.9, window_seconds=86_400).rules("here:1")
    await store.record_successes(rules, "first", 1, Permit(0))
    with redis.Redis.from_url(redis_url) as client:
        at: Any = client.zscore("breaker:{c}:reports", "first")
        many = {f"{number}": at + number for number in range(SUCCESS_REPORTS)}
        client.zadd("breaker:{c}:reports", many)
        await store.record_successes(rules, "last", 1, Permit(0))
        assert client.zcard("breaker:{c}:reports") == SUCCESS_REPORTS
        assert client.zscore("breaker:{c}:reports", "first") is None
    circuit = (await store.record_successes(rules, "last", 1, Permit(0))).circuit
    assert circuit.successes == 2


async def test_failure_takes_one_command_and_success_none(redis_url: str) -> None:
    """P3, P4: Redis counts no command per success and one command per failure."""
    settings = BreakerSettings(name="c", poll_seconds=300)
    with redis.Redis.from_url(redis_url) as client:
        store = CountingStore(redis_url, "c", timeout_seconds=STORE_SECONDS)
        async with CircuitBreaker(store, settings) as breaker:
            await breaker.record_failure("warm", "boom", await breaker.try_acquire())
            await store.wait_until_watched()
            client.config_resetstat()
            for _ in range(1_000):
                permit = await breaker.try_acquire()
                await breaker.record_successes(1, permit)
                breaker.note_success(0.001)
            assert _commands(client) == {}
            for number in range(10):
                await breaker.record_failure(f"{number}", "boom", permit)
            calls = _commands(client)
    assert calls.get("evalsha") == 10
    assert set(calls) <= {"evalsha", "zadd", "zcard", "zremrangebyscore", "pexpire",
                          "hmget", "hset", "pttl", "time"}  # fmt: skip


def _commands(client: redis.Redis) -> dict[str, int]:
    """Return and reset the calls per command; commands of scripts are counted too."""
    stats = client.info("commandstats")
    assert isinstance(stats, dict)
    counted = {name.removeprefix("cmdstat_"): int(row["calls"]) for name, row in stats.items()}
    client.config_resetstat()
    return {n: c for n, c in counted.items() if not n.startswith(("config", "info", "ping"))}


async def test_scripts_are_loaded_again_after_a_flush(
    redis_url: str, store: RedisCircuitStore
) -> None:
    """A server has no scripts after a restart or a failover."""
    await store.record_failure(RULES, "a", "boom", Permit(0))
    with redis.Redis.from_url(redis_url) as client:
        client.script_flush()
    assert (await store.record_failure(RULES, "b", "boom", Permit(0))).circuit.failures == 2


async def test_closed_connection_is_replaced(redis_url: str, store: RedisCircuitStore) -> None:
    """Azure closes idle connections; the next recorder must see no error."""
    await store.record_failure(RULES, "a", "boom", Permit(0))
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert (await store.record_failure(RULES, "b", "boom", Permit(0))).circuit.failures == 2


async def test_many_recorders_share_few_connections(
    redis_url: str, store: RedisCircuitStore
) -> None:
    """There are more recorders than connections, and all failures count."""
    rules = BreakerSettings(name="c").rules("here:1")
    for wave in ("a", "b"):
        await asyncio.gather(
            *(store.record_failure(rules, f"{wave}{n}", "x", Permit(0)) for n in range(45))
        )
    assert (await store.snapshot(rules)).circuit.failures == 90
    with redis.Redis.from_url(redis_url) as client:
        recording = [row for row in client.client_list() if row["cmd"] == "evalsha"]
    assert 1 < len(recording) <= CONNECTIONS


@pytest.mark.parametrize(
    "options",
    [
        {"max_connections": 1},
        {"credential_provider": UsernamePasswordCredentialProvider("default", "any")},
    ],
    ids=["small pool", "tokens"],
)
async def test_connection_returns_to_small_or_token_pool(
    redis_url: str, options: dict[str, Any]
) -> None:
    """Other callers need a small pool's connections; only the pool renews tokens."""
    async with Redis.from_url(redis_url, **options) as client:
        connection = await client.client_id()
        store = RedisCircuitStore(client, "c", timeout_seconds=STORE_SECONDS)
        await store.snapshot(RULES)
        assert await client.client_id() == connection
        await store.aclose()


async def test_circuits_of_one_client_share_connections(redis_url: str) -> None:
    """A client may have more circuits than its pool has connections."""
    async with Redis.from_url(redis_url, max_connections=2 * CONNECTIONS) as client:
        stores = [
            RedisCircuitStore(client, f"c{number}", timeout_seconds=STORE_SECONDS)
            for number in range(40)
        ]
        for store in stores:
            await store.snapshot(RULES)
        await stores[0].aclose()


async def test_closed_store_returns_its_connections(redis_url: str) -> None:
    """The caller's client uses the same connection after the store is closed."""
    async with Redis.from_url(redis_url) as client:
        connection = await client.client_id()
        store = RedisCircuitStore(client, "c", timeout_seconds=STORE_SECONDS)
        for _ in range(2):  # the first call may load the script, on any connection
            await store.snapshot(RULES)
        assert await client.client_id() != connection
        await store.aclose()
        assert await client.client_id() == connection


async def test_times_come_from_the_server(redis_url: str, store: RedisCircuitStore) -> None:
    """Opening times are the server's, also at the beginning of a second."""
    with redis.Redis.from_url(redis_url) as client:
        await asyncio.sleep(1 - client.time()[1] / 1e6)
        before = client.time()
        await store.isolate(RULES, "ann", "x")
        after = client.time()
    circuit = (await store.snapshot(RULES)).circuit
    assert circuit.opened_at is not None
    assert before[0] + before[1] / 1e6 <= circuit.opened_at <= after[0] + after[1] / 1e6


@pytest.mark.parametrize("decode", [True, False])
async def test_store_accepts_any_client_and_leaves_it_open(redis_url: str, decode: bool) -> None:
    """The client may decode replies or not; the store does not close it."""
    async with Redis.from_url(redis_url, decode_responses=decode) as client:
        store = RedisCircuitStore(client, "c", timeout_seconds=STORE_SECONDS)
        async with CircuitBreaker(store, SETTINGS) as breaker:
            await breaker.isolate("ann", "Grüße, мир")
            assert [entry.reason for entry in await breaker.history()] == ["Grüße, мир"]
            assert breaker.circuit.reason == "Grüße, мир"
        assert await client.ping()


async def test_driver_errors_become_store_errors(redis_url: str) -> None:
    """A refused connection, a wrong type and a timeout raise one error, with its cause."""
    refused = RedisCircuitStore(f"redis://127.0.0.1:{free_port()}/0", "c")
    with pytest.raises(
        StoreUnavailableError, match=r"a Redis request for circuit .c. failed"
    ) as raised:
        await refused.snapshot(RULES)
    assert isinstance(raised.value.__cause__, redis.exceptions.ConnectionError)
    assert str(raised.value).endswith("; check REDIS_URL, and whether Redis is running")
    await refused.aclose()

    store = RedisCircuitStore(redis_url, "c", timeout_seconds=STORE_SECONDS)
    with redis.Redis.from_url(redis_url) as client:
        client.set("breaker:{c}:circuit", "no hash")
        with pytest.raises(StoreUnavailableError) as raised:
            await store.snapshot(RULES)
        assert isinstance(raised.value.__cause__, redis.exceptions.ResponseError)
        assert "REDIS_URL" not in str(raised.value)
        client.delete("breaker:{c}:circuit")
        assert (await store.outbox(RULES)).pending == 0
        store._runner._timeout = 0.2
        client.client_pause(600_000, all=False)  # pauses scripts, but not CLIENT UNPAUSE
        try:
            with pytest.raises(StoreUnavailableError, match=r"no answer within 0\.2 s|Timeout"):
                await store.outbox(RULES)
        finally:
            client.client_unpause()
        store._runner._timeout = STORE_SECONDS
    # The late answer must not be read as the answer to this request.
    assert (await store.snapshot(RULES)).circuit.state is CircuitState.CLOSED
    await store.aclose()


def documented_acl() -> list[str]:
    """Return the ACL command of docs/operations.md, for the circuit "c"."""
    shown = re.search(
        r"^ +(ACL SETUSER operator .*?)```", OPERATIONS.read_text("utf-8"), re.M | re.S
    )
    assert shown
    return shown[1].replace("NAME", "c").replace("PASSWORD", "secret").split()


async def use_a_dependency(url: str) -> None:
    """Register, open and close a dependency's circuit, and receive a push."""
    client = connect(url)
    store = RedisDependencyStore(client, "c", timeout_seconds=STORE_SECONDS)
    settings = DependencySettings(replace(SETTINGS, failure_threshold=1))
    async with (
        DependencyCircuits(store, settings) as circuits,
        DependencyCircuits(store, settings) as others,
    ):
        bank = await circuits.use("bank")
        assert bank is not None
        await until(lambda: "bank" in others.circuits)
        await bank.record_failure("f", "down", Permit(0))
        await until(lambda: others.circuits["bank"].circuit.state is CircuitState.OPEN)
        await bank.close_circuit(1, "ann")
        assert not bank.circuit.degraded
    await client.aclose()


async def test_documented_acl_user_has_all_needed_rights(redis_url: str) -> None:
    """The documented ACL user can run all operations, and each command of the scripts."""
    words = documented_acl()
    called = set(re.findall(r"redis\.call\('(\w+)'", "".join(lua.sources().values())))
    assert {f"+{name.lower()}" for name in called} <= set(words)
    address = redis_url.removeprefix("redis://")
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command(*words)
        client.acl_log_reset()
        try:
            url = f"redis://operator:secret@{address}"
            store = RedisCircuitStore(url, "c", timeout_seconds=STORE_SECONDS)
            await use_all_keys(store)
            for callback in await store.claim_callbacks(RULES, 30):
                await store.settle_callback(RULES, callback)
            await store.record_failure(RULES, "probe", "boom", Permit(1, "q"))
            async with CircuitBreaker(store, SETTINGS) as breaker:
                await breaker.isolate("ann", "enough")
                await breaker.close_circuit(2, "ann")
                assert len(await breaker.history()) == 7
                assert await breaker.registration() is not None
                assert await breaker.circuits() == {"c"}
                assert not breaker.circuit.degraded
            await use_a_dependency(url)
            refused = {str(entry["object"]).partition("|")[0] for entry in client.acl_log()}
            assert refused <= {"client"}  # CLIENT SETINFO, whose refusal redis-py ignores
            wrong = RedisCircuitStore(f"redis://operator:wrong@{address}", "c")
            with pytest.raises(StoreUnavailableError) as raised:
                await wrong.snapshot(RULES)
            assert "wrong" not in str(raised.value)
            await wrong.aclose()
        finally:
            client.acl_deluser("operator")


async def test_user_without_the_right_to_search_gets_the_refusal_without_names(
    redis_url: str,
) -> None:
    """Earlier versions did not need SCAN; the circuit is refused all the same."""
    words = [word for word in documented_acl() if word != "+scan"]
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command(*words)
        try:
            url = f"redis://operator:secret@{redis_url.removeprefix('redis://')}"
            store = RedisCircuitStore(url, "c", timeout_seconds=STORE_SECONDS)
            async with aclosing(CircuitBreaker(store, SETTINGS, registers=False)) as tool:
                with pytest.raises(UnknownCircuitError, match="could not be read") as raised:
                    await tool.check_exists()
            assert raised.value.known is None
        finally:
            client.acl_deluser("operator")


async def test_cluster_runs_all_scripts(redis_cluster: str) -> None:
    """With the OSS clustering policy all operations work and pushes arrive."""
    settings = BreakerSettings(
        name="c",
        failure_threshold=3,
        redis_cluster=True,
        poll_seconds=300,
        store_timeout_seconds=STORE_SECONDS,
    )
    store = CountingStore.from_settings(redis_cluster, settings)
    one = CircuitBreaker(RedisCircuitStore.from_settings(redis_cluster, settings), settings)
    two = CircuitBreaker(store, settings)
    async with one, two:
        await store.wait_until_watched()
        closed = two.circuit
        for number in range(3):
            await one.record_failure(f"{number}", "boom", Permit(0))
        known = await two.wait_for_change(closed, timeout=HANG_SECONDS)
        assert known.state is CircuitState.OPEN
        await two.approve(1, "ann")
        assert len(await one.history()) == 3
        assert await one.registration() is not None
        assert await two.circuits() == {"c"}
        assert await one.approvals.register(1, f"http://127.0.0.1:{free_port()}/")


def test_invalid_address_or_name_is_refused() -> None:
    """The error is raised before connecting, and does not show the password."""
    with pytest.raises(SettingsError, match="REDIS_URL cannot be used") as raised:
        connect("http://:secret@example.com")
    assert "secret" not in str(raised.value)
    with pytest.raises(SettingsError, match="BREAKER_NAME is 'a}b'"):
        RedisCircuitStore("redis://127.0.0.1:1/0", "a}b")


async def test_settings_configure_entra_and_tls() -> None:
    """The client has TLS and a credential provider, without a connection."""
    settings = BreakerSettings(redis_auth="entra", redis_client_id="an-id")  # type: ignore[arg-type]
    client = connect("rediss://cache.example.com:10000", settings)
    assert isinstance(client, Redis)
    options = client.connection_pool.connection_kwargs
    assert type(options["credential_provider"]).__name__ == "TokenLogin"
    assert issubclass(client.connection_pool.connection_class, SSLConnection)
    await client.aclose()


async def test_injected_clock_replaces_server_time(redis_url: str) -> None:
    """Tests may inject a clock; otherwise the server's TIME is used."""
    clock = ManualClock(start=5.0)
    store = RedisCircuitStore(redis_url, "c", timeout_seconds=STORE_SECONDS, now_us=clock.now_us)
    await store.isolate(RULES, "ann", "x")
    assert (await store.snapshot(RULES)).circuit.opened_at == 5.0
    await store.aclose()
