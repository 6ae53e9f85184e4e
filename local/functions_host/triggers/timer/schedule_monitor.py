"""The stored status of a timer: its last run and its next due time, kept across restarts.

As on Azure, the status is in the blob `timers/<host id>/Host.Functions.<function>/status`. An
occurrence that no host ran is made up for at the next start, with `past_due` set.
"""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol, Self

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError

if TYPE_CHECKING:
    from azure.storage.blob.aio import ContainerClient

    from local.functions_host.triggers.timer.ncrontab import Schedule

NEVER = datetime.min.replace(tzinfo=UTC)
_SHORTEST = timedelta(minutes=1)
_CHECKED_OCCURRENCES = 5
_log = logging.getLogger("Host.Triggers.Timer")


@dataclass(frozen=True)
class ScheduleStatus:
    """A timer's state; `last` is `NEVER` before the first run."""

    last: datetime
    next: datetime
    updated: datetime

    @classmethod
    def before_first_run(cls, schedule: Schedule, now: datetime) -> Self:
        """Return the status of a timer that is new or has a new schedule."""
        return cls(NEVER, schedule.after(now), now)

    @classmethod
    def after_run(cls, schedule: Schedule, moment: datetime) -> Self:
        """Return the status of a timer that ran at `moment`."""
        return cls(moment, schedule.after(moment), moment)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse the result of `to_json`.

        Raises:
            ValueError: the text is not a timer's status.
        """
        try:
            value = json.loads(text)
            moments = [datetime.fromisoformat(value[n]) for n in ("Last", "Next", "LastUpdated")]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a timer status: {error!r}") from None
        return cls(*(m if m.tzinfo else m.replace(tzinfo=UTC) for m in moments))

    def to_json(self) -> str:
        """Return the status in Azure's JSON form."""
        moments = {"Last": self.last, "Next": self.next, "LastUpdated": self.updated}
        return json.dumps({name: moment.isoformat() for name, moment in moments.items()})

    def resumed(self, schedule: Schedule, now: datetime) -> Self:
        """Return the status for a start at `now`: unchanged, or a new one for a changed schedule.

        With a changed schedule no occurrence is overdue.
        """
        began = self.updated if self.last == NEVER else self.last
        expected = schedule.after(began)
        if expected == self.next:
            return self
        return type(self)(NEVER, expected if expected >= now else schedule.after(now), now)


class ScheduleMonitor(Protocol):
    """A store for the status of one timer; a storage failure never stops the timer."""

    async def read(self) -> ScheduleStatus | None:
        """Return the stored status; None when none is stored or the read fails."""

    async def write(self, status: ScheduleStatus) -> None:
        """Store `status`."""


class BlobScheduleMonitor:
    """A store for the status in a blob of the hosts' container."""

    def __init__(self, container: ContainerClient, host_id: str, function: str) -> None:
        self._container = container
        self._function = function
        self._blob = container.get_blob_client(f"timers/{host_id}/Host.Functions.{function}/status")

    async def read(self) -> ScheduleStatus | None:
        """Implement ScheduleMonitor."""
        try:
            content = await (await self._blob.download_blob()).readall()
            return ScheduleStatus.from_json(content.decode())
        except ResourceNotFoundError:
            return None
        except (AzureError, ValueError) as error:
            _log.warning(
                "Function '%s': timer status not read; a missed run is not made up for: %s: %s",
                self._function,
                type(error).__name__,
                error,
            )
            return None

    async def write(self, status: ScheduleStatus) -> None:
        """Implement ScheduleMonitor."""
        content = status.to_json().encode()
        try:
            try:
                await self._blob.upload_blob(content, overwrite=True)
            except ResourceNotFoundError:
                with suppress(ResourceExistsError):
                    await self._container.create_container()
                await self._blob.upload_blob(content, overwrite=True)
        except AzureError as error:
            _log.warning(
                "Function '%s': timer status not written; a restart may repeat the run: %s: %s",
                self._function,
                type(error).__name__,
                error,
            )


def is_worth_monitoring(schedule: Schedule, now: datetime) -> bool:
    """Return whether occurrences are at least a minute apart; Azure stores no other status."""
    moment = schedule.after(now)
    for _ in range(_CHECKED_OCCURRENCES):
        following = schedule.after(moment)
        if following - moment < _SHORTEST:
            return False
        moment = following
    return True
