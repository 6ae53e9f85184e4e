"""Logging in to Redis with an identity's token in place of a password."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError

TOKEN_SECONDS = 30.0
"""How long a token may take: a command line that is logged in to Azure takes seconds for one."""
_LEAST_MS = 5 * 60 * 1000
"""What a token must be valid for still, to be used for one more connection."""


class Token(Protocol):
    """What redis-entraid makes of an answer of Entra."""

    def ttl(self) -> float:
        """Milliseconds that it is valid for."""
        ...

    def try_get(self, key: str) -> str:
        """One of its claims."""
        ...

    def get_value(self) -> str:
        """The token itself."""
        ...


class TokenLogin(CredentialProvider):
    """Gives each new connection a valid token, and asks for one only if it has none.

    Redis closes a connection whose token has run out; the client opens another. redis-entraid's own
    provider logs living connections in again instead. It waits for the answer on the connection
    that the watcher listens on, which fails, and asks anew for each connection, on the event loop.

    Args:
        request: asks Entra; may block.
    """

    def __init__(self, request: Callable[[], Token]) -> None:
        self._request = request
        self._token: Token | None = None
        self._asking: asyncio.Task[Token] | None = None

    @property
    def ready(self) -> bool:
        """Whether logging in needs nobody's answer."""
        return self._token is not None and self._token.ttl() > _LEAST_MS

    async def refresh(self) -> None:
        """Have a valid token; however many wait, one is asked for.

        Raises:
            AuthenticationError: there is none for this identity.
        """
        if self.ready:
            return
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(asyncio.to_thread(self._request))
            self._asking.add_done_callback(_noticed)
        try:
            # Who gives up waiting must not take the token from the others.
            self._token = await asyncio.shield(self._asking)
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise AuthenticationError(
                f"no token for Redis; on a command line: az login. {type(error).__name__}: {reason}"
            ) from error

    async def get_credentials_async(self) -> tuple[str, str]:
        """The identity's object id and its token; see `refresh`."""
        await self.refresh()
        return self._credentials()

    def get_credentials(self) -> tuple[str, str]:
        """The same for a client without an event loop."""
        if not self.ready:
            self._token = self._request()
        return self._credentials()

    def _credentials(self) -> tuple[str, str]:
        assert self._token is not None  # noqa: S101 - whoever comes here has asked for it
        return self._token.try_get("oid"), self._token.get_value()


def _noticed(task: asyncio.Task[Token]) -> None:
    """An error that nobody waited for is no news: the next one who asks gets it."""
    if not task.cancelled():
        task.exception()
