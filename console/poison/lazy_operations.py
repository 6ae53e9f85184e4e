"""What the function app's settings name, opened when it is first needed.

Importing it loads Microsoft's SDKs, which takes longer than everything else that a console does to
start; so that happens in a thread, and only once somebody looks.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING, Any

from breaker import BreakerError
from console.errors import OperationsError
from processing.errors import ProcessingError

if TYPE_CHECKING:
    from processing.operations import PoisonStorage
    from processing.parking.store import ParkingStore
    from processing.redrive.discard import Discard
    from processing.redrive.redrive import Redrive


class LazyOperations:
    """The operations of `processing`, each opened once and closed with the console.

    Args:
        settings: the function app's; may lack what only some of the operations need.
    """

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.settings = settings
        self._opened = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._poison: PoisonStorage | None = None
        self._parking: ParkingStore | None = None

    async def poison(self) -> PoisonStorage:
        """The poison queue.

        Raises:
            OperationsError: the settings do not name it.
        """
        async with self._opening:
            if self._poison is None:
                operations = await self.module("processing.operations")
                opening: AbstractAsyncContextManager[PoisonStorage] = operations.open_poison(
                    self.settings
                )
                self._poison = await self.enter(opening)
        return self._poison

    async def parking(self) -> ParkingStore:
        """The parked lists.

        Raises:
            OperationsError: the settings do not name them.
        """
        async with self._opening:
            if self._parking is None:
                operations = await self.module("processing.operations")
                opening: AbstractAsyncContextManager[ParkingStore] = operations.open_parking(
                    self.settings
                )
                self._parking = await self.enter(opening)
        return self._parking

    async def redrive(self, discard: Discard | None = None) -> AbstractAsyncContextManager[Redrive]:
        """A redrive, opened and closed by the caller; see `open_redrive`."""
        operations = await self.module("processing.operations")
        opening: AbstractAsyncContextManager[Redrive] = operations.open_redrive(
            self.settings, discard=discard
        )
        return opening

    async def module(self, name: str) -> Any:
        """A module, imported aside.

        Raises:
            OperationsError: a library that it needs is not installed.
        """
        try:
            return await asyncio.to_thread(importlib.import_module, name)
        except ImportError as error:
            raise OperationsError(f"{name} cannot be loaded here: {error}") from error

    async def enter[T](self, opening: AbstractAsyncContextManager[T]) -> T:
        """Open something until the console ends.

        Raises:
            OperationsError: it can't be opened with these settings.
        """
        try:
            return await translate_errors(self._opened.enter_async_context(opening))
        except ValueError as error:  # what the SDKs say to a connection string of another form
            raise OperationsError(f"a setting cannot be used: {error}") from error

    async def aclose(self) -> None:
        """Close what was opened."""
        await self._opened.aclose()


async def translate_errors[T](awaitable: Awaitable[T]) -> T:
    """Return the result, with errors of processing and breaker translated to the console's.

    Raises:
        OperationsError: processing or breaker raised an error.
    """
    try:
        return await awaitable
    except (ProcessingError, BreakerError) as error:
        raise OperationsError(str(error)) from error
