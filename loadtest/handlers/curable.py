"""The ledger with poison events that can be cured, for `two-pipelines`."""

from __future__ import annotations

from dataclasses import replace

from processing.errors import DependencyUnavailableError
from processing.event import Event
from processing.handlers.ledger import LedgerHandler


class CurableHandler(LedgerHandler):
    """A ledger whose poison events are handled once the key `ledger:{<run>}:cured` exists.

    A redrive can therefore replay them, as after a fix of the handler.
    """

    async def __call__(self, event: Event) -> None:
        """Append the event, also a poison event of a run that is cured."""
        is_poison = event.properties.get("simulate") == "poison"
        if is_poison and await self._is_cured(event.properties.get("run")):
            cured = {**event.properties, "simulate": ""}
            event = replace(event, properties=cured)
        await super().__call__(event)

    async def _is_cured(self, run: object) -> bool:
        try:
            return bool(await self._client.exists(f"ledger:{{{run}}}:cured"))
        except self._failures as error:
            raise DependencyUnavailableError(f"the ledger's Redis: {error}") from error
