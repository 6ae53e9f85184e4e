"""A handler that calls an HTTP API exactly once: `EVENT_HANDLER=http_sink:Charges`.

The API gets the event's id in the header Idempotency-Key. It does the work of a key once, and gives
a repeated request the first answer. If the process dies between the call and the commit of the
event's progress, the event's next delivery repeats the request, and the API charges nothing.

`docs/handlers.md` says what the API must promise. The setting BANK_URL is its address.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import httpx
from pydantic import BaseModel, Field

from breakwater import DependencyUnavailableError, Event, PoisonEventError, dependency


class Charge(BaseModel):
    """The body of an event."""

    account: str
    cents: int = Field(gt=0)


class Charges:
    """A handler that charges each event's account at the bank."""

    def __init__(self, url: str) -> None:
        self._bank = httpx.AsyncClient(base_url=url, timeout=10)

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        """Return a handler for the bank of the app settings."""
        return cls(settings["BANK_URL"])

    async def __call__(self, charge: Charge, event: Event) -> None:
        """Charge an account once, however often the event is delivered."""
        async with dependency("bank"):
            answer = await self._bank.post(
                "/charges",
                content=event.body,  # the same bytes in each request with this key
                headers={"Idempotency-Key": event.id, "Content-Type": "application/json"},
            )
            if answer.status_code == httpx.codes.CONFLICT:
                raise DependencyUnavailableError(
                    f"the bank still works on the first request for account {charge.account}",
                    retry_after=answer.headers.get("Retry-After"),
                )
            if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
                raise PoisonEventError("the bank refuses the charge, or has another with this key")
            answer.raise_for_status()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._bank.aclose()
