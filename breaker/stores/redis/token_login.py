"""Redis logins with a Microsoft Entra token instead of a password."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError

TOKEN_SECONDS = 30.0
"""Timeout of a token request; the Azure CLI, for example, takes seconds for a token."""
_MIN_TTL_MS = 5 * 60 * 1000
"""Least remaining lifetime of a token that is used for a new connection."""


class Token(Protocol):
    """A token of redis-entraid."""

    def ttl(self) -> float:
        """Return the remaining lifetime in milliseconds."""
        ...

    def try_get(self, key: str) -> str:
        """Return a claim."""
        ...

    def get_value(self) -> str:
        """Return the encoded token."""
        ...


class TokenLogin(CredentialProvider):
    """A credential provider that reuses one token for new connections while the token is valid.

    Redis closes a connection whose token has expired, and the client opens another. The provider of
    redis-entraid logs open connections in again instead. That fails on the watcher's subscription,
    and requests a token for each connection, which blocks the event loop.

    Args:
        request: requests a token from Entra; may block.
    """

    def __init__(self, request: Callable[[], Token]) -> None:
        self._request = request
        self._token: Token | None = None
        self._request_task: asyncio.Task[Token] | None = None

    @property
    def ready(self) -> bool:
        """Return whether a valid token is at hand."""
        return self._token is not None and self._token.ttl() > _MIN_TTL_MS

    async def refresh(self) -> None:
        """Request a token unless a valid one is at hand; concurrent calls share one request.

        Raises:
            AuthenticationError: Entra gave no token for this identity.
        """
        if self.ready:
            return
        if self._request_task is None or self._request_task.done():
            self._request_task = asyncio.create_task(asyncio.to_thread(self._request))
            self._request_task.add_done_callback(_retrieve_error)
        try:
            # Shielded, because other callers may wait for the same request.
            self._token = await asyncio.shield(self._request_task)
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise AuthenticationError(
                f"no token for Redis: {type(error).__name__}: {reason}; "
                "on a developer's machine, run az login"
            ) from error

    async def get_credentials_async(self) -> tuple[str, str]:
        """Return the identity's object id and a valid token; see `refresh`."""
        await self.refresh()
        return self._credentials()

    def get_credentials(self) -> tuple[str, str]:
        """Return the identity's object id and a valid token; may block."""
        if not self.ready:
            self._token = self._request()
        return self._credentials()

    def _credentials(self) -> tuple[str, str]:
        assert self._token is not None  # noqa: S101 - both callers have set the token
        return self._token.try_get("oid"), self._token.get_value()


def _retrieve_error(task: asyncio.Task[Token]) -> None:
    """Retrieve an error that no caller awaits, so that asyncio does not log it."""
    if not task.cancelled():
        task.exception()
