"""The console's view of the function app: its management, and the reports of its instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from processing.monitoring.vitals import VitalsEntry
from processing.site.client import Site
from processing.site.settings import SiteSettings
from tests.chain import platform
from tests.chain.clocks import BreakerClock
from tests.chain.faults import Call, FaultLine, LostError

_URL = "http://127.0.0.1/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/breakwater"


class ManagedSite(Site):
    """The console's client of the management, whose requests go to the simulated site.

    A fault of the workflow's stop or start is a fault of the management, and hits this client too.
    """

    def __init__(self, site: platform.Site, line: FaultLine) -> None:
        settings = SiteSettings.from_mapping({"FUNCTION_APP_URL": _URL})
        assert settings is not None
        super().__init__(settings, _no_credential, sleep=BreakerClock(line.clock).sleep)
        self._simulated = site
        self._line = line

    async def _attempt(self, method: str, act: str) -> tuple[int, dict[str, Any]]:
        if method == "GET":
            return 200, {
                "properties": {"state": "Running" if self._simulated.running else "Stopped"}
            }
        kind = act.removeprefix("/")

        async def apply() -> int:
            self._simulated.apply(kind)
            return 200

        try:
            status = await self._line.send(Call[kind.upper()], apply, lambda status: status)
        except LostError as error:
            raise self._no_answer(str(error)) from error
        if status != 200:
            raise self._refusal(status, {})
        return status, {}


class Reports:
    """The latest report of each instance, in the form of the vitals."""

    def __init__(self, site: platform.Site) -> None:
        self._site = site

    async def behind(self, cursor: str) -> Sequence[VitalsEntry]:
        """See `EntrySource.behind`."""
        entries = [
            VitalsEntry(f"{int(at * 1000)}-0", name, {"handled": 0})
            for name, at in self._site.reports().items()
        ]
        return [entry for entry in entries if _place(entry.cursor) > _place(cursor)]


def _place(cursor: str) -> int:
    return int(cursor.partition("-")[0])


def _no_credential() -> Any:
    raise AssertionError("the local stack takes no token")
