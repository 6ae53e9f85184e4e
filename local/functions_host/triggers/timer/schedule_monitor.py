"""What a timer remembers across restarts: when it last ran and when it is next due.

The platform keeps it in the blob `timers/<host id>/Host.Functions.<function>/status`, so that an
occurrence that nobody was there for is made up for at the next start, with `past_due` set.
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
_LOOKED_AT = 5
_log = logging.getLogger("Host.Triggers.Timer")


@dataclass(frozen=True)
class ScheduleStatus:
    """A timer's state; `last` is `NEVER` before the first run."""

    last: datetime
    next: datetime
    updated: datetime

    @classmethod
    def before_the_first_run(cls, schedule: Schedule, now: datetime) -> Self:
        """Of a timer that is new, or whose schedule is."""
        return cls(NEVER, schedule.after(now), now)

    @classmethod
    def after_a_run(cls, schedule: Schedule, moment: datetime) -> Self:
        """Of a timer that ran at `moment`."""
        return cls(moment, schedule.after(moment), moment)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            ValueError: it is something else.
        """
        try:
            value = json.loads(text)
            moments = [datetime.fromisoformat(value[n]) for n in ("Last", "Next", "LastUpdated")]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"no timer status: {error!r}") from None
        return cls(*(m if m.tzinfo else m.replace(tzinfo=UTC) for m in moments))

    def to_json(self) -> str:
        """The platform's form."""
        moments = {"Last": self.last, "Next": self.next, "LastUpdated": self.updated}
        return json.dumps({name: moment.isoformat() for name, moment in moments.items()})

    def resumed(self, schedule: Schedule, now: datetime) -> Self:
        """This status for a start at `now`: as it is, unless the schedule is another meanwhile.

        A changed schedule makes nothing overdue.
        """
        began = self.updated if self.last == NEVER else self.last
        expected = schedule.after(began)
        if expected == self.next:
            return self
        return type(self)(NEVER, expected if expected >= now else schedule.after(now), now)


class ScheduleMonitor(Protocol):
    """Keeps the status of one timer; a failure to do so never stops the timer."""

    async def read(self) -> ScheduleStatus | None:
        """What was written last; None when nothing was, or it cannot be read."""

    async def write(self, status: ScheduleStatus) -> None:
        """Remember `status`."""


class BlobScheduleMonitor:
    """A blob in the hosts' container."""

    def __init__(self, container: ContainerClient, host_id: str, function: str) -> None:
        self._container = container
        self._function = function
        self._blob = container.get_blob_client(f"timers/{host_id}/Host.Functions.{function}/status")

    async def read(self) -> ScheduleStatus | None:
        """See ScheduleMonitor."""
        try:
            content = await (await self._blob.download_blob()).readall()
            return ScheduleStatus.from_json(content.decode())
        except ResourceNotFoundError:
            return None
        except (AzureError, ValueError) as error:
            _log.warning("Function '%s': timer status not read: %s", self._function, error)
            return None

    async def write(self, status: ScheduleStatus) -> None:
        """See ScheduleMonitor."""
        content = status.to_json().encode()
        try:
            try:
                await self._blob.upload_blob(content, overwrite=True)
            except ResourceNotFoundError:
                with suppress(ResourceExistsError):
                    await self._container.create_container()
                await self._blob.upload_blob(content, overwrite=True)
        except AzureError as error:
            _log.warning("Function '%s': timer status not written: %s", self._function, error)


def is_worth_monitoring(schedule: Schedule, now: datetime) -> bool:
    """Whether occurrences are a minute apart or more; the platform keeps no status of others."""
    moment = schedule.after(now)
    for _ in range(_LOOKED_AT):
        following = schedule.after(moment)
        if following - moment < _SHORTEST:
            return False
        moment = following
    return True
