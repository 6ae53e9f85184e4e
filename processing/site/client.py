"""A client that reads, stops and starts the function app through Azure Resource Manager (ARM).

A stop that was accepted has not taken effect yet; only `Site.state` says what Azure reports.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import aiohttp
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_exponential_jitter

from processing.errors import SiteError
from processing.site.settings import SETTING, SiteSettings

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

API_VERSION = "2025-03-01"
ROLE = "'Breakwater stop and start' (infra/modules/operate-role.bicep)"
REQUEST_SECONDS = 8.0
TOKEN_SECONDS = 20.0
TOTAL_SECONDS = 35.0
"""Time limit of one call with its retries; the page waits 45 s for the console's answer."""
ATTEMPTS = 4
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 4.0
MESSAGE_CHARS = 200


class _TransientError(SiteError):
    """An error that the next attempt may not meet."""


class Site:
    """The function app, seen through its management address.

    Args:
        settings: the address.
        new_credential: opens the identity that signs in, at the first call; not called for the
            local stack, which takes no token.
        sleep: pauses between two attempts.
    """

    def __init__(
        self,
        settings: SiteSettings,
        new_credential: Callable[[], AsyncTokenCredential],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.settings = settings
        self._new_credential = new_credential
        self._credential: AsyncTokenCredential | None = None
        self._session: aiohttp.ClientSession | None = None
        self._sleep = sleep

    async def state(self, *, attempts: int = ATTEMPTS) -> str:
        """Return the app's state as the management reports it, such as "Running" or "Stopped".

        Raises:
            SiteError: the state could not be read.
        """
        _, document = await self._call("GET", "", attempts)
        properties = document.get("properties")
        state = properties.get("state") if isinstance(properties, dict) else None
        if not isinstance(state, str) or not state:
            raise SiteError(
                f"{self.settings.source} answered without the app's state; check {SETTING}",
                detail="no state",
            )
        return state

    async def stop(self) -> str:
        """Ask for a stop and return the answer, such as "HTTP 200"; a repeat is harmless.

        Raises:
            SiteError: the stop was refused or not answered.
        """
        status, _ = await self._call("POST", "/stop")
        return f"HTTP {status}"

    async def start(self) -> str:
        """Ask for a start and return the answer, such as "HTTP 200"; a repeat is harmless.

        Raises:
            SiteError: the start was refused or not answered.
        """
        status, _ = await self._call("POST", "/start")
        return f"HTTP {status}"

    async def aclose(self) -> None:
        """Close the connections and the identity."""
        if self._session is not None:
            await self._session.close()
        if self._credential is not None:
            await self._credential.close()

    async def _call(
        self, method: str, act: str, attempts: int = ATTEMPTS
    ) -> tuple[int, dict[str, Any]]:
        last: SiteError | None = None

        async def attempt() -> tuple[int, dict[str, Any]]:
            nonlocal last
            try:
                return await self._attempt(method, act)
            except SiteError as error:
                last = error
                raise

        retrying = AsyncRetrying(
            stop=stop_after_attempt(attempts),
            wait=wait_exponential_jitter(
                initial=FIRST_PAUSE_SECONDS, max=LONGEST_PAUSE_SECONDS, jitter=0.5
            ),
            retry=retry_if_exception_type(_TransientError),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            async with asyncio.timeout(TOTAL_SECONDS):
                return await retrying(attempt)
        except TimeoutError:
            raise last or self._no_answer(f"within {TOTAL_SECONDS:g} s") from None

    async def _attempt(self, method: str, act: str) -> tuple[int, dict[str, Any]]:
        headers = {"User-Agent": "breakwater"}
        if self.settings.audience:
            headers["Authorization"] = f"Bearer {await self._token()}"
        if self._session is None:
            # The environment may name a proxy, which loopback addresses do not need.
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
                trust_env=bool(self.settings.audience),
            )
        try:
            async with self._session.request(
                method,
                f"{self.settings.url}{act}",
                params={"api-version": API_VERSION},
                headers=headers,
                allow_redirects=False,
            ) as response:
                body = await response.read()
                status = response.status
        except TimeoutError:
            raise self._no_answer(f"within {REQUEST_SECONDS:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._no_answer(f"({type(error).__name__}: {_line(str(error))})") from error
        document = _object(body)
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return status, document
        raise self._refusal(status, document)

    async def _token(self) -> str:
        from azure.core.exceptions import AzureError  # noqa: PLC0415 - not for the local stack

        if self._credential is None:
            self._credential = self._new_credential()
        try:
            async with asyncio.timeout(TOKEN_SECONDS):
                token = await self._credential.get_token(f"{self.settings.audience}.default")
        except (AzureError, TimeoutError) as error:
            reason = _line(str(error)) or f"no answer within {TOKEN_SECONDS:g} s"
            raise SiteError(
                f"no token for Azure: {type(error).__name__}: {reason}; on your own machine run "
                "`az login`, on Azure check the managed identity and AZURE_CLIENT_ID",
                detail="no token",
            ) from error
        return token.token

    def _no_answer(self, why: str) -> SiteError:
        return _TransientError(
            f"{self.settings.source} did not answer {why}; the call may have been carried out",
            detail="no answer",
            answered=False,
        )

    def _refusal(self, status: int, document: dict[str, Any]) -> SiteError:
        source, detail = self.settings.source, f"HTTP {status}"
        said = _said(document)
        match status:
            case HTTPStatus.UNAUTHORIZED:
                text = "did not accept the token; sign in to the tenant of the app's subscription"
            case HTTPStatus.FORBIDDEN:
                text = f"refused: the identity lacks the role {ROLE} on the function app"
            case HTTPStatus.NOT_FOUND:
                text = f"knows no such function app; {SETTING} is {self.settings.url}"
            case HTTPStatus.CONFLICT:
                text = (
                    "refused, because another operation on the app is running; repeat in a minute"
                )
            case HTTPStatus.TOO_MANY_REQUESTS:
                text = "refused: too many calls; repeat in a minute"
            case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                text = "failed; repeat in a minute"
            case _:
                text = f"refused; check {SETTING}"
        kind = _TransientError if _is_transient(status) else SiteError
        return kind(f"{detail}: {source} {text}{said}", detail=detail)


def _is_transient(status: int) -> bool:
    return status in {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.CONFLICT,
        HTTPStatus.TOO_MANY_REQUESTS,
    } or (status >= HTTPStatus.INTERNAL_SERVER_ERROR)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _said(document: dict[str, Any]) -> str:
    """Return code and message of ARM's error, in parentheses; "" without an error."""
    error = document.get("error")
    if not isinstance(error, dict):
        return ""
    parts = [_line(str(error[name])) for name in ("code", "message") if error.get(name)]
    return f" ({': '.join(parts)})" if parts else ""


def _line(text: str) -> str:
    line = " ".join(text.partition("\n")[0].split())
    line = "".join(each for each in line if each.isprintable())
    return line if len(line) <= MESSAGE_CHARS else f"{line[: MESSAGE_CHARS - 1]}…"
