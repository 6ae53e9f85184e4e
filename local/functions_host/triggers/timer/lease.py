"""A blob lease: the one instance that may run a timer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError
from azure.storage.blob.aio import BlobLeaseClient, ContainerClient

HOSTS_CONTAINER = "azure-webjobs-hosts"
_log = logging.getLogger("Host.Singleton")


class Lock(Protocol):
    """What one instance at a time has."""

    @property
    def held(self) -> bool:
        """Whether this instance has it now."""

    def start(self) -> None:
        """Begin to try for it."""

    async def wait(self) -> None:
        """Wait until this instance has it."""

    async def stop(self) -> None:
        """Give it back."""


class SingletonLease:
    """Holds the lease on `locks/<name>` for as long as it runs, or keeps trying to get it.

    A lease is the shortest that blob storage grants (15 s), renewed every third of it: after a
    kill the next instance takes over within that time.
    """

    def __init__(
        self,
        container: ContainerClient,
        name: str,
        *,
        seconds: int = 15,
        retry: float = 3.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._container = container
        self._blob = container.get_blob_client(f"locks/{name}")
        self._seconds = seconds
        self._retry = retry
        self._clock = clock
        self._until = 0.0
        self._lease: BlobLeaseClient | None = None
        self._task: asyncio.Task[None] | None = None
        self._held = asyncio.Event()

    @property
    def held(self) -> bool:
        """Whether this instance has the lease now.

        A process that was paused for longer than a lease has not, though nobody has told it yet.
        """
        if self._held.is_set() and self._clock() >= self._until:
            self._held.clear()
        return self._held.is_set()

    async def wait(self) -> None:
        """Wait until this instance has the lease."""
        while not self.held:
            await self._held.wait()

    def start(self) -> None:
        """Begin to acquire and renew."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Give the lease back."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._lease is not None and self.held:
            with suppress(AzureError):
                await self._lease.release()
        self._held.clear()

    async def _run(self) -> None:
        while True:
            try:
                if self._lease is None or not self.held:
                    await self._acquire()
                else:
                    until = self._clock() + self._seconds
                    await self._lease.renew()
                    self._until = until
            except HttpResponseError as error:
                if self.held:
                    _log.warning("lost the lock on %s: %s", self._blob.blob_name, error.reason)
                self._held.clear()
            except AzureError as error:
                self._held.clear()
                _log.warning("lock on %s: %s", self._blob.blob_name, error)
            await asyncio.sleep(self._seconds / 3 if self.held else self._retry)

    async def _acquire(self) -> None:
        with suppress(ResourceExistsError):
            await self._container.create_container()
        with suppress(ResourceExistsError):
            # A blob that is there already, leased or not, stays as it is.
            await self._blob.upload_blob(b"", overwrite=False)
        until = self._clock() + self._seconds
        self._lease = await self._blob.acquire_lease(self._seconds)
        self._until = until
        self._held.set()
