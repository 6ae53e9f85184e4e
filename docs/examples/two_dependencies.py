"""A handler that needs two services, with a circuit for each: `docs/examples` on the Python path.

`EVENT_HANDLER=two_dependencies:Orders`, and the app settings BANK_URL and MAIL_URL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import httpx

from breakwater import Event, dependency
from processing.errors import DependencyRefusedError


class Orders:
    """A handler of orders: charge the card, then send a receipt.

    While the bank is down, only the keys of orders that must be charged wait.
    """

    def __init__(self, bank_url: str, mail_url: str) -> None:
        self._bank_url = bank_url
        self._mail_url = mail_url
        self._client = httpx.AsyncClient(timeout=5)

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        """Return the handler for the addresses in the app settings."""
        return cls(settings["BANK_URL"], settings["MAIL_URL"])

    async def __call__(self, event: Event) -> None:
        """Handle one order; the bank and the mail service ignore a repeated `event.id`."""
        order = event.json()
        headers = {"Idempotency-Key": event.id}
        if order["total"] > 0:
            # An error inside the block counts for the bank's circuit. While that circuit is open,
            # the block raises at once, and the event's key is deferred.
            async with dependency("bank"):
                answer = await self._client.post(self._bank_url, json=order, headers=headers)
                answer.raise_for_status()
        try:
            async with dependency("mail"):
                answer = await self._client.post(self._mail_url, json=order, headers=headers)
                answer.raise_for_status()
        except DependencyRefusedError:
            pass  # a receipt is not worth a wait: the order is handled without one

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()
