"""Cached states of the bodies of poison messages."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from processing.operations import PoisonStorage
    from processing.poison.message import PoisonMessage

FRESH_SECONDS = 15.0
"""Time for which a state is used again; each state of a large message costs one read of a blob."""


class BodyStates:
    """The states of bodies, at most `FRESH_SECONDS` old.

    Args:
        storage: opens the queue.
        now: returns a monotonic time in seconds.
    """

    def __init__(
        self,
        storage: Callable[[], Awaitable[PoisonStorage]],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage = storage
        self._now = now
        self._known: dict[object, tuple[str, float]] = {}

    async def of(self, messages: Sequence[PoisonMessage]) -> list[str]:
        """Return the state of each message's body: a `BodyState`.

        Raises:
            OperationsError: the settings do not name the queue.
        """
        from processing.poison.claim_checks import states  # noqa: PLC0415 - loaded by now

        storage, now = await self._storage(), self._now()
        self._known = {name: each for name, each in self._known.items() if each[1] > now}
        unknown = [message for message in messages if _name(message) not in self._known]
        found = await states(unknown, storage.claims, storage.own)
        for message, state in zip(unknown, found, strict=True):
            self._known[_name(message)] = (state, now + FRESH_SECONDS)
        return [self._known[_name(message)][0] for message in messages]


def _name(message: PoisonMessage) -> object:
    return message.source, message.id, message.claim_check
