"""Redis clients built from the settings."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

from breaker.errors import StoreUnavailableError
from breaker.settings import BreakerSettings, RedisAuth
from breaker.stores.redis.links import Links
from breaker.stores.redis.patience import make_patient, patient
from breaker.stores.redis.token_login import TOKEN_SECONDS, TokenLogin
from breaker.stores.redis.waiting import WaitingCluster, WaitingPool
from breaker.stores.redis_url import check_url, no_entra, unknown_option, unusable

type Client = Redis | RedisCluster

_ARGUMENT = re.compile(r"'\w+'")


def connect(url: str, settings: BreakerSettings | None = None) -> Client:
    """Return a client for `redis://` or `rediss://`; it connects on first use.

    Raises:
        SettingsError: the address is invalid, has an unknown option, or Entra is set without the
            package redis-entraid.
    """
    settings = settings or BreakerSettings()
    check_url(url, settings)
    options: dict[str, Any] = {
        "wait_seconds": settings.store_timeout_seconds,
        "socket_timeout": settings.store_timeout_seconds,
        "socket_connect_timeout": settings.store_timeout_seconds,
        "retry": Retry(ExponentialWithJitterBackoff(base=0.01, cap=0.1), retries=3),
        # An announced address that this machine cannot reach would block new connections for as
        # long as the maintenance lasts.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    if settings.redis_auth is RedisAuth.ENTRA:
        options["credential_provider"] = _entra(settings.redis_client_id)
    with _address_errors():
        if settings.redis_cluster:
            cluster = WaitingCluster.from_url(url, **options)
            make_patient(cluster, Links.of(url))
            return cluster
        return Redis.from_pool(_pool(url, **options))


async def log_in(client: Client) -> None:
    """Fetch the token before the Redis timeout starts, if the client logs in with a token.

    Otherwise a slow Entra would be reported as a Redis outage.

    Raises:
        StoreUnavailableError: Entra gave no token within `TOKEN_SECONDS`.
    """
    holder = client if isinstance(client, RedisCluster) else client.connection_pool
    login = holder.connection_kwargs.get("credential_provider")
    if not isinstance(login, TokenLogin):
        return
    try:
        async with asyncio.timeout(TOKEN_SECONDS):
            await login.refresh()
    except (RedisError, TimeoutError) as error:
        reason = str(error) or f"no token for Redis within {TOKEN_SECONDS:g} s"
        raise StoreUnavailableError(reason) from error


def _pool(url: str, **options: Any) -> WaitingPool:
    pool = WaitingPool.from_url(url, **options)
    pool.connection_class = patient(pool.connection_class, Links.of(url))
    pool.subscriptions.connection_class = pool.connection_class
    # This opens no connection, but checks the options that the first connection would check.
    pool.make_connection()  # type: ignore[no-untyped-call]
    return pool


@contextmanager
def _address_errors() -> Iterator[None]:
    try:
        yield
    except TypeError as error:
        name = _ARGUMENT.search(str(error))
        raise unknown_option(name[0].strip("'") if name else "") from None
    except (ValueError, RedisError):
        # The parser's own message may quote a part of the password.
        raise unusable() from None


def _entra(client_id: str | None) -> TokenLogin:
    try:
        from azure.identity import (  # noqa: PLC0415
            DefaultAzureCredential,
            ManagedIdentityCredential,
        )
        from redis_entraid.identity_provider import (  # type: ignore[import-untyped]  # noqa: PLC0415
            DefaultAzureCredentialProvider,
        )
    except ImportError:
        raise no_entra() from None
    credential = (
        ManagedIdentityCredential(client_id=client_id) if client_id else DefaultAzureCredential()
    )
    provider = DefaultAzureCredentialProvider(credential, ("https://redis.azure.com/.default",))
    return TokenLogin(provider.request_token)
