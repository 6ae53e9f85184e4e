"""The HTTP calls of the workflow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from local.workflow.retry import is_retried
from local.workflow.run import Opening

API_VERSION = "2025-03-01"


class ActionError(Exception):
    """A failed action.

    Attributes:
        retried: whether a retry may succeed.
    """

    def __init__(self, message: str, *, retried: bool) -> None:
        super().__init__(message)
        self.retried = retried


@dataclass(frozen=True)
class Actions:
    """The HTTP calls to management and console, with one attempt each.

    Attributes:
        client: shared HTTP client with the timeouts.
        management_url: URL of the site, without /stop and /start.
        console_url: URL of the console, which asks the operator for approvals.
        console_token: bearer token of the console.
    """

    client: httpx.AsyncClient
    management_url: str
    console_url: str
    console_token: str = field(repr=False)

    async def stop(self) -> str:
        """Stop the function app."""
        return await self._manage("stop")

    async def start(self) -> str:
        """Start the function app."""
        return await self._manage("start")

    async def has_passed(self, circuit: str, generation: int) -> bool:
        """Return whether the circuit is no longer open in this generation.

        Raises:
            ActionError: the console did not return the circuit.
        """
        url = f"{self.console_url}/api/circuits/{quote(circuit, safe='')}"
        try:
            response = await self.client.get(url, headers=self._authorization)
        except httpx.HTTPError as error:
            raise ActionError(f"{type(error).__name__}: {error}", retried=True) from error
        _require_success(response)
        found = _document(response)
        if "generation" not in found or "state" not in found:
            raise ActionError(
                "the console's answer has no generation or state of a circuit", retried=False
            )
        return (found["generation"], found["state"]) != (generation, "open")

    async def request_approval(self, opening: Opening, callback_url: str) -> bool:
        """Request an approval; return False if the circuit has already passed the generation.

        With the opening's time the console accepts an opening that the circuit has not recorded.

        Raises:
            ActionError: the console did not accept the request.
        """
        response = await self._post(
            f"{self.console_url}/api/approvals",
            json={
                "circuit": opening.circuit,
                "generation": opening.generation,
                "openedAt": opening.at_text,
                "callbackUrl": callback_url,
            },
            headers=self._authorization,
        )
        _require_success(response)
        return _document(response).get("status") != "passed"

    @property
    def _authorization(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.console_token}"}

    async def _manage(self, operation: str) -> str:
        url = f"{self.management_url}/{operation}"
        response = await self._post(url, params={"api-version": API_VERSION})
        _require_success(response)
        return f"{operation} answered {response.status_code}"

    async def _post(
        self,
        url: str,
        *,
        json: dict[str, object] | None = None,
        params: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        try:
            return await self.client.post(url, json=json, params=params, headers=headers)
        except httpx.HTTPError as error:
            raise ActionError(f"{type(error).__name__}: {error}", retried=True) from error


def _document(response: httpx.Response) -> dict[str, Any]:
    """Return the JSON object of a response; an empty object for any other body."""
    try:
        answer = response.json()
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _require_success(response: httpx.Response) -> None:
    if not response.is_success:
        text = " ".join(response.text[:200].split())
        raise ActionError(
            f"HTTP {response.status_code}: {text}", retried=is_retried(response.status_code)
        )
