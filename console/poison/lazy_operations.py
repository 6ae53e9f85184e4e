"""Operations on the function app's queue, lists and hub, opened on first use.

Importing Microsoft's SDKs takes longer than the rest of the console's start. So the import happens
in a thread, and only when an operator needs the operations.
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
    from processing.operations import ParkedLists, PoisonStorage
    from processing.partitions.rewind import Rewind
    from processing.redrive.discard import Discard
    from processing.redrive.redrive import Redrive


class LazyOperations:
    """The operations of `processing`, each opened once and closed with the console.

    Args:
        settings: the function app's settings; an operation fails if its own settings are missing.
    """

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.settings = settings
        self._opened = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._poison: PoisonStorage | None = None
        self._parking: ParkedLists | None = None

    async def poison(self) -> PoisonStorage:
        """Return the poison queue.

        Raises:
            OperationsError: the settings do not name the queue.
        """
        async with self._opening:
            if self._poison is None:
                operations = await self.module("processing.operations")
                opening: AbstractAsyncContextManager[PoisonStorage] = operations.open_poison(
                    self.settings
                )
                self._poison = await self.enter(opening)
        return self._poison

    async def parking(self) -> ParkedLists:
        """Return the parked lists.

        Raises:
            OperationsError: the settings do not name the parked lists.
        """
        async with self._opening:
            if self._parking is None:
                operations = await self.module("processing.operations")
                opening: AbstractAsyncContextManager[ParkedLists] = operations.open_parking(
                    self.settings
                )
                self._parking = await self.enter(opening)
        return self._parking

    async def redrive(self, discard: Discard | None = None) -> AbstractAsyncContextManager[Redrive]:
        """Return a redrive, which the caller opens and closes; see `open_redrive`."""
        operations = await self.module("processing.operations")
        opening: AbstractAsyncContextManager[Redrive] = operations.open_redrive(
            self.settings, discard=discard
        )
        return opening

    async def rewind(self) -> AbstractAsyncContextManager[Rewind]:
        """Return a rewind, which the caller opens and closes; see `open_rewind`."""
        operations = await self.module("processing.operations")
        opening: AbstractAsyncContextManager[Rewind] = operations.open_rewind(self.settings)
        return opening

    async def module(self, name: str) -> Any:
        """Import a module in a thread.

        Raises:
            OperationsError: a library that the module needs is not installed.
        """
        try:
            return await asyncio.to_thread(importlib.import_module, name)
        except ImportError as error:
            raise OperationsError(f"the module {name} cannot be loaded: {error}") from error

    async def enter[T](self, opening: AbstractAsyncContextManager[T]) -> T:
        """Enter a context that closes with the console.

        Raises:
            OperationsError: the context cannot be opened with these settings.
        """
        try:
            return await translate_errors(self._opened.enter_async_context(opening))
        except ValueError as error:  # the SDKs raise this for an invalid connection string
            raise OperationsError(f"a setting of the function app is invalid: {error}") from error

    async def aclose(self) -> None:
        """Close all opened contexts."""
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
