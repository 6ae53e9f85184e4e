"""The collection of what is seen of the app: its state, its reports, its circuit's record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from breaker import CircuitBreaker, StoreUnavailableError
from breaker.chain import ChainStatus
from breaker.configuration.lookup import value_of
from breaker.configuration.pipelines import NAME
from processing.errors import SiteError, StorageUnavailableError
from processing.site.client import Site
from processing.site.reports import EntrySource, ReportLog
from processing.site.statement import ALL_EVENTS, OF_PIPELINE, PRESS_START, Reports, Seen, SiteView


class SiteWatch:
    """A collector that keeps the last state of the app between two reads.

    Args:
        breaker: the circuit.
        site: the function app; None without FUNCTION_APP_URL.
        vitals: source of the instances' reports; None: the reports are not known.
        now: returns the time, seconds since the epoch.
        how_to_start: the sentence that says how to start the app.
        held: the events that the circuit holds, see `Seen.held`.

    Attributes:
        site: as given.
    """

    def __init__(
        self,
        breaker: CircuitBreaker,
        site: Site | None,
        vitals: EntrySource | None,
        *,
        now: Callable[[], float] = time.time,
        how_to_start: str = PRESS_START,
        held: str = ALL_EVENTS,
    ) -> None:
        self.site = site
        self._breaker = breaker
        self._reports = None if vitals is None else ReportLog(vitals, now)
        self._now = now
        self._how_to_start = how_to_start
        self._held = held
        self._view = SiteView(source=site.settings.source) if site is not None else None

    async def read_state(self, *, attempts: int = 1) -> None:
        """Read the app's state, for the next `look`; an error is kept in place of the state."""
        if self.site is None or self._view is None:
            return
        asked = self._now()  # the state is as old as the question
        try:
            state = await self.site.state(attempts=attempts)
        except SiteError as error:
            before = self._view
            self._view = SiteView(before.state, before.read_at, str(error), before.source)
        else:
            self._view = SiteView(state, asked, source=self._view.source)

    async def look(self) -> Seen:
        """Return what is seen now; the app's state is that of the last `read_state`."""
        chain = await self._chain()
        start = chain.start if chain is not None else None
        return Seen(
            circuit=self._breaker.circuit,
            chain=chain,
            site=self._view,
            reports=await self._read_reports(start.at if start and start.accepted else None),
            now=self._now(),
            how_to_start=self._how_to_start,
            stops_app=self._breaker.stops_app,
            held=self._held,
        )

    async def _chain(self) -> ChainStatus | None:
        try:
            return await self._breaker.approvals.status()
        except StoreUnavailableError:
            return None

    async def _read_reports(self, started_at: float | None) -> Reports | None:
        if self._reports is None:
            return None
        try:
            return await self._reports.read(started_at)
        except StorageUnavailableError:
            return None


def held_by(settings: Mapping[str, str]) -> str:
    """Return the events that the circuit of an app, or of one declared pipeline, holds."""
    return OF_PIPELINE if value_of(settings, NAME) else ALL_EVENTS
