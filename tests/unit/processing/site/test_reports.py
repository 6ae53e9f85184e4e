"""The instances' reports: who reported last, and when an event was first handled after a start."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from processing.errors import StorageUnavailableError
from processing.monitoring.vitals import VitalsEntry
from processing.site.reports import ReportLog

NOW = 1_700_000_000.0


class Stream:
    """The vitals of a test; at most two entries are read at a time."""

    def __init__(self) -> None:
        self.entries: list[VitalsEntry] = []
        self.away = False

    def add(self, seconds: float, instance: str, handled: int = 0) -> None:
        cursor = f"{int((NOW + seconds) * 1000)}-0"
        self.entries.append(VitalsEntry(cursor, instance, {"handled": handled}))

    async def behind(self, cursor: str) -> Sequence[VitalsEntry]:
        if self.away:
            raise StorageUnavailableError("Redis is away")
        here = int(cursor.partition("-")[0])
        return [entry for entry in self.entries if int(entry.at * 1000) > here][:2]


async def test_last_report_of_each_instance() -> None:
    """Reports over an hour old are not read, and later ones are added."""
    stream = Stream()
    stream.add(-4000, "old")
    for seconds, name in ((-100, "a"), (-90, "b"), (-80, "a")):
        stream.add(seconds, name)
    log = ReportLog(stream, lambda: NOW)
    found = await log.read(None)
    assert found.last == (("a", NOW - 80), ("b", NOW - 90))
    assert (found.known_since, found.first_handled_at) == (NOW - 100, None)
    stream.add(-1, "b")
    assert (await log.read(None)).last == (("a", NOW - 80), ("b", NOW - 1))


async def test_first_handled_event_after_a_start() -> None:
    """The answer stays the same while later events are handled."""
    stream = Stream()
    log = ReportLog(stream, lambda: NOW)
    stream.add(-60, "a", handled=5)
    stream.add(-40, "a")
    assert (await log.read(NOW - 50)).first_handled_at is None
    stream.add(-30, "a", handled=1)
    stream.add(-20, "b", handled=9)
    for _ in range(2):
        assert (await log.read(NOW - 50)).first_handled_at == NOW - 30
    assert (await log.read(NOW - 25)).first_handled_at == NOW - 20
    assert (await log.read(NOW - 10)).first_handled_at is None


async def test_forgotten_instance() -> None:
    """An instance is dropped an hour after its last report."""
    stream, now = Stream(), NOW
    stream.add(-10, "a")
    log = ReportLog(stream, lambda: now)
    assert len((await log.read(None)).last) == 1
    now += 3600
    assert (await log.read(None)).last == ()


async def test_unreadable_reports() -> None:
    stream = Stream()
    stream.away = True
    with pytest.raises(StorageUnavailableError, match="Redis is away"):
        await ReportLog(stream, lambda: NOW).read(None)
