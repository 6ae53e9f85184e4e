"""The running redrives of an app: who redrives which events, and how far.

All instances of the console and all operators see each redrive. The record refuses a second redrive
of all events. Nothing else depends on the record: a key's lease keeps two redrives from replaying
one key at the same time.
"""

from __future__ import annotations

import asyncio
import getpass
import logging
import secrets
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from breaker.configuration.one_line import escaped
from processing.errors import StorageUnavailableError
from processing.redrive.run_store import RunningRedrive, RunStore

logger = logging.getLogger(__name__)

RENEW_SECONDS = 1.0
"""Time between two records of a redrive's progress."""


class Run:
    """The progress of a redrive that is running.

    Attributes:
        latest: the redrive as it is now.
    """

    def __init__(self, run: RunningRedrive) -> None:
        self.latest = run

    def progress(self, done: int, total: int, failed: int = 0) -> None:
        """Note the progress; the next renewal stores it.

        Args:
            done: number of finished events.
            total: number of all events, as far as it is known.
            failed: number of the finished events that failed again.
        """
        self.latest = replace(self.latest, done=done, total=total, failed=failed)


class RedriveRuns:
    """The running redrives of one app.

    Args:
        store: stores the redrives.
        renew_seconds: time between two records of a redrive's progress.
    """

    def __init__(self, store: RunStore, *, renew_seconds: float = RENEW_SECONDS) -> None:
        self._store = store
        self._seconds = renew_seconds

    async def running(self) -> list[RunningRedrive]:
        """Return the running redrives, those of all events first.

        Raises:
            StorageUnavailableError: the store did not answer.
        """
        return await self._store.running()

    async def lines(self) -> list[str]:
        """Return one line for each running redrive; see `running`."""
        return [run.line for run in await self._store.running()]

    @asynccontextmanager
    async def entered(self, run: RunningRedrive) -> AsyncIterator[Run]:
        """Show a redrive to all until the block ends.

        A store that does not answer delays nothing more than this call; then nobody sees the
        redrive, and no second one is refused.

        Raises:
            RedriveRunningError: another redrive of all events is running, and so is this one.
        """
        token, entered = secrets.token_hex(8), Run(replace(run, since=time.time()))
        try:
            entered.latest = await self._store.begin(token, run)
        except StorageUnavailableError as error:
            logger.warning("Other operators do not see this redrive: %s", error)
        renewing = asyncio.create_task(self._renew(token, entered))
        try:
            yield entered
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            try:
                await self._store.end(token)
            except StorageUnavailableError as error:
                logger.info("This redrive ended; its record expires in 15 s: %s", error)

    async def _renew(self, token: str, entered: Run) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            try:
                await self._store.renew(token, entered.latest)
            except StorageUnavailableError as error:
                logger.debug("The progress of the redrive was not recorded: %s", error)


def operator_name() -> str:
    """Return the name of the operator of a command line, such as "anna@host1"."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "operator"
    return f"{escaped(user)}@{socket.gethostname()}"
