"""The store of the running redrives of an app, and its twin in memory."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol, Self

from processing.errors import RedriveRunningError
from processing.formats import json_text
from processing.redrive.selection import Selection

RUN_SECONDS = 15.0
"""Time after its last renewal for which a running redrive is shown; its process may be dead."""

MOST_CHARS = 100
"""Longest name of a key or an event in a redrive's line."""


class RunPlace(StrEnum):
    """The tool in which a redrive runs."""

    COMMAND_LINE = "command line"
    CONSOLE = "console"


@dataclass(frozen=True, slots=True)
class RunningRedrive:
    """A redrive that is running, or that died less than `RUN_SECONDS` ago.

    Attributes:
        by: the operator, such as "anna@host1".
        where: the tool.
        key, id: the selection; both None: all events.
        discards: whether the selected event is recorded as discarded instead of replayed.
        done: number of finished events.
        total: number of all events, as far as it is known.
        failed: number of the finished events that failed again.
        since: time at which the redrive began, seconds since 1970 by the store's clock.
    """

    by: str
    where: RunPlace = RunPlace.COMMAND_LINE
    key: str | None = None
    id: str | None = None
    discards: bool = False
    done: int = 0
    total: int = 0
    failed: int = 0
    since: float = 0.0

    @property
    def line(self) -> str:
        """The redrive as one line, such as "anna@host1 redrives everything: 3 of 20, since …"."""
        verb = "discards" if self.discards else "redrives"
        what = "everything"
        if self.key is not None:
            what = f"key {_shortened(repr(self.key))}"
        elif self.id is not None:
            what = f"event {_shortened(self.id)}"
        where = " from the console" if self.where is RunPlace.CONSOLE else ""
        failed = f" ({self.failed:,} failed again)" if self.failed else ""
        since = datetime.fromtimestamp(self.since, UTC).strftime("%H:%M")
        far = f"{self.done:,} of {self.total:,}{failed}" if self.total else "reading the queue"
        return f"{self.by} {verb} {what}{where}: {far}, since {since} UTC"

    @property
    def selection(self) -> Selection:
        """The selected events."""
        return Selection(key=self.key, id=self.id)

    @property
    def is_of_all(self) -> bool:
        """Return whether the redrive replays all events; only one such redrive runs at a time."""
        return not self.selection.is_named

    def to_json(self) -> str:
        """Return the run as JSON, without its time."""
        return json_text.dumps({**asdict(self), "since": 0})

    @classmethod
    def from_json(cls, text: str, since: float) -> Self:
        """Return the run; unknown fields of a newer version are ignored.

        Raises:
            ValueError: the text is no run.
        """
        try:
            document = json.loads(text)
            known = {name: document[name] for name in cls.__slots__ if name in document}
            return cls(**{**known, "where": RunPlace(known["where"]), "since": since})
        except (TypeError, KeyError) as error:
            raise ValueError(f"no running redrive: {error}") from error


class RunStore(Protocol):
    """A store of the running redrives of one app.

    Each method raises `StorageUnavailableError` if the store does not answer.
    """

    async def begin(self, token: str, run: RunningRedrive) -> RunningRedrive:
        """Store a new redrive, and return it with the time of its beginning.

        Raises:
            RedriveRunningError: the redrive is of all events, and so is another one that is
                running.
        """
        ...

    async def renew(self, token: str, run: RunningRedrive) -> None:
        """Store the progress of a redrive, and show the redrive for another `RUN_SECONDS`.

        A redrive that has expired, because the store was away, is shown again.
        """
        ...

    async def end(self, token: str) -> None:
        """Remove a redrive; an unknown one is ignored."""
        ...

    async def running(self) -> list[RunningRedrive]:
        """Return the running redrives, those of all events first, then by their beginning."""
        ...


class MemoryRunStore:
    """A store of running redrives in memory; see `RunStore`.

    Args:
        now: returns the time, seconds since 1970.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._runs: dict[str, tuple[RunningRedrive, float]] = {}

    async def begin(self, token: str, run: RunningRedrive) -> RunningRedrive:
        """See `RunStore.begin`."""
        others = [each for each in await self.running() if each.is_of_all]
        if run.is_of_all and others:
            raise running_error(others[0])
        return self._store(token, run, self._now())

    async def renew(self, token: str, run: RunningRedrive) -> None:
        """See `RunStore.renew`."""
        self._store(token, run, run.since)

    async def end(self, token: str) -> None:
        """See `RunStore.end`."""
        self._runs.pop(token, None)

    async def running(self) -> list[RunningRedrive]:
        """See `RunStore.running`."""
        now = self._now()
        return in_order(run for run, until in self._runs.values() if until > now)

    def _store(self, token: str, run: RunningRedrive, since: float) -> RunningRedrive:
        begun = replace(run, since=since)
        self._runs[token] = begun, self._now() + RUN_SECONDS
        return begun


def running_error(other: RunningRedrive) -> RedriveRunningError:
    """Return the error for a second redrive of all events."""
    return RedriveRunningError(
        f"another redrive of all events is running: {other.line}; nothing was changed. Wait until "
        "that redrive has ended, or redrive one key or one event"
    )


def in_order(runs: Iterable[RunningRedrive]) -> list[RunningRedrive]:
    """Return the runs of all events first, then those that began earlier."""
    return sorted(runs, key=lambda run: (not run.is_of_all, run.since, run.by))


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_CHARS else f"{text[: MOST_CHARS - 1]}…"
