"""A person approves on the console's page: they are told where, and waited for."""

from __future__ import annotations

from collections.abc import Callable

from loadtest.target.endpoints import Endpoints
from loadtest.observe.observer import Observer


class Person:
    """Asks whoever watches the run.

    Args:
        say: prints a line.
    """

    def __init__(
        self, observer: Observer, endpoints: Endpoints, say: Callable[[str], None]
    ) -> None:
        self._observer = observer
        self._endpoints = endpoints
        self._say = say

    async def approve(self, generation: int) -> None:
        """Return once that generation is no longer open."""
        self._say(
            f"the downstream is mended: approve generation {generation} at "
            f"{self._endpoints.console_url} with the token {self._endpoints.console_token}"
        )
        await self._observer.until(
            lambda sample: sample.state != "open" or sample.generation != generation
        )
