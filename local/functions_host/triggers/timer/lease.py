"""A blob lease that selects the one instance that may run a timer."""

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
    """A lock that one instance at a time holds."""

    @property
    def held(self) -> bool:
        """True while this instance holds the lock."""

    def start(self) -> None:
        """Start trying to acquire the lock."""

    async def wait(self) -> None:
        """Wait until this instance holds the lock."""

    async def stop(self) -> None:
        """Release the lock."""


class SingletonLease:
    """The lease on the blob `locks/<name>`, acquired and renewed in the background.

    The lease has the shortest length that blob storage grants (15 s) and is renewed every 5 s.
    After a kill the next instance takes over within 15 s plus `retry` seconds.
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
        """True while this instance holds the lease.

        A process that was paused for longer than the lease gets False.
        """
        if self._held.is_set() and self._clock() >= self._until:
            self._held.clear()
        return self._held.is_set()

    async def wait(self) -> None:
        """Wait until this instance holds the lease."""
        while not self.held:
            await self._held.wait()

    def start(self) -> None:
        """Start acquiring and renewing the lease."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Stop renewing and release the lease."""
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
                    _log.warning(
                        "lost the lock on %s; the host tries to acquire it again: %s",
                        self._blob.blob_name,
                        error.reason,
                    )
                self._held.clear()
            except AzureError as error:
                self._held.clear()
                _log.warning(
                    "lock on %s not available; the host retries in %g s: %s: %s",
                    self._blob.blob_name,
                    self._retry,
                    type(error).__name__,
                    error,
                )
            await asyncio.sleep(self._seconds / 3 if self.held else self._retry)

    async def _acquire(self) -> None:
        with suppress(ResourceExistsError):
            await self._container.create_container()
        with suppress(ResourceExistsError):
            # An existing blob, leased or not, is not overwritten.
            await self._blob.upload_blob(b"", overwrite=False)
        until = self._clock() + self._seconds
        self._lease = await self._blob.acquire_lease(self._seconds)
        self._until = until
        self._held.set()
