"""The files of the flight recorder, which a process leaves and the next process reads."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import pytest

from processing.event import Event
from processing.handlers.loading import LoadedHandler
from processing.watchdog.death_reports import log_death_report, take_death_reports
from processing.watchdog.recorder import RECORDS_BYTES, SUFFIX, FlightRecorder, private_folder
from processing.watchdog.watchdog import Watchdog
from tests.support.processing.events import event

BLOCKED = """
import asyncio, re, sys
from pathlib import Path
from processing.handlers.loading import LoadedHandler
from processing.watchdog.watchdog import Watchdog
from tests.support.processing.events import event

def handle(each):
    if each.sequence_number == 5:
        re.match(r"(a+)+$", "a" * 60 + "b")  # holds the interpreter for years

async def main():
    handler = LoadedHandler("app:handle", handle, timeout_seconds=1)
    watchdog = Watchdog(0.4, handler="app:handle", app="app", folder=Path(sys.argv[1]))
    handler.recorder = watchdog.recorder
    watchdog.start()
    watchdog.recorder.begin("batch", "ns/events/0: events 1 to 9")
    await asyncio.gather(*(handler.handle(event(number)) for number in range(1, 9)))

asyncio.run(main())
"""


def die(recorder: FlightRecorder) -> None:
    """Close the file as the death of its process does."""
    recorder._map.close()
    os.close(recorder.fileno())


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_process_that_holds_the_interpreter_ends_and_names_handler_and_event(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The regex of CASES E: no thread of the process runs, so only the watchdog can end it."""
    script = textwrap.dedent(BLOCKED)
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], timeout=120, check=False)
    assert ended.returncode == 1
    (report,) = take_death_reports(tmp_path, "app")
    assert report.calls[0] == event(5).id
    assert report.handler == "app:handle"
    assert "in handle" in report.stack
    assert "re/__init__.py" in report.stack
    log_death_report(report, 0.4)
    assert f"in handler app:handle and was ended; it ran event {event(5).id}" in caplog.text
    assert names(tmp_path) == []


def test_file_of_a_living_process_stays(tmp_path: Path) -> None:
    """Several processes of one app share the folder."""
    recorder = FlightRecorder(tmp_path, "app", "app:handle")
    assert take_death_reports(tmp_path, "app") == []
    assert recorder.path.exists()
    recorder.close()
    assert names(tmp_path) == []


def test_each_file_is_taken_once_and_by_its_app(tmp_path: Path) -> None:
    recorder = FlightRecorder(tmp_path, "app", "app:handle")
    recorder.begin("batch", "ns/events/0: events 1 to 9")
    recorder.end(recorder.begin("call", 1, "finished"))
    recorder.begin("call", 1, event(3).id)
    recorder.begin("call", 2, event(4).id)
    die(recorder)
    assert take_death_reports(tmp_path, "other") == []
    (report,) = take_death_reports(tmp_path, "app")
    assert report.calls == (event(4).id, event(3).id)
    assert report.batches == ("batch ns/events/0: events 1 to 9",)
    assert report.stack == ""
    assert take_death_reports(tmp_path, "app") == []


@pytest.mark.parametrize("head", ["", "no JSON", "[]", "{}", '{"pid": "x", "handler": 1}', "7"])
def test_odd_file_does_not_hide_the_others(tmp_path: Path, head: str) -> None:
    """Another version of the app may have written the file; each file is read once."""
    (tmp_path / f"app-0{SUFFIX}").write_bytes(head.encode().ljust(RECORDS_BYTES, b"\0"))
    recorder = FlightRecorder(tmp_path, "app", "app:handle")
    recorder.begin("call", 1, event(3).id)
    die(recorder)
    (report,) = take_death_reports(tmp_path, "app")
    assert report.calls == (event(3).id,)


def test_old_files_of_other_apps_are_removed(tmp_path: Path) -> None:
    """The folder does not grow where many apps come and go."""
    dead, alive = (FlightRecorder(tmp_path, "other", "app:handle") for _ in range(2))
    die(dead)
    assert take_death_reports(tmp_path, "app") == []
    assert len(names(tmp_path)) == 2
    for each in (dead, alive):
        os.utime(each.path, (1, 1))
    assert take_death_reports(tmp_path, "app") == []
    assert names(tmp_path) == [alive.path.name]
    alive.close()


def test_killed_process_is_reported_with_its_events(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that was killed, for example for its memory, has no stack."""
    recorder = FlightRecorder(tmp_path, "app", "app:handle")
    recorder.begin("call", 1, event(3).id)
    die(recorder)
    with caplog.at_level(logging.WARNING):
        for report in take_death_reports(tmp_path, "app"):
            log_death_report(report, 120)
    assert "died and left no stack" in caplog.text
    assert f"its handler app:handle ran event {event(3).id}, which" in caplog.text


def test_more_calls_than_slots_are_not_recorded(tmp_path: Path) -> None:
    recorder = FlightRecorder(tmp_path, "app", "app:handle")
    slots = [recorder.begin("call", 1, "x" * 1000) for _ in range(600)]
    assert slots[-1] == 0
    for slot in slots:
        recorder.end(slot)
    assert recorder.begin("call", 1, "x") > 0
    recorder.close()
    recorder.end(3)  # a call that outlasts the close


async def test_close_removes_the_file_and_the_timer(tmp_path: Path) -> None:
    """A process that ends its work well leaves nothing."""
    watchdog = Watchdog(60, handler="app:handle", app="app", folder=tmp_path)
    watchdog.start()
    assert len(names(tmp_path)) == 1
    await watchdog.aclose()
    assert names(tmp_path) == []


async def test_calls_of_a_plain_handler_are_recorded_while_they_run(tmp_path: Path) -> None:
    recorder = FlightRecorder(tmp_path, "app", "app:handle")
    seen: list[bytes] = []
    looked = threading.Event()

    def handle(_each: Event) -> None:
        assert looked.wait(30)
        seen.append(recorder.path.read_bytes())

    handler = LoadedHandler("app:handle", handle, timeout_seconds=60)
    handler.recorder = recorder
    running = asyncio.ensure_future(handler.handle(event(3)))
    await asyncio.sleep(0)
    assert [each.id for each in handler.running] == [event(3).id]
    looked.set()
    await running
    assert not handler.running
    assert event(3).id.encode() in seen[0]
    die(recorder)
    (report,) = take_death_reports(tmp_path, "app")
    assert report.calls == ()
    await handler.aclose()


def test_folder_that_others_can_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Event ids are not for other users of the machine."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = private_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    with pytest.raises(PermissionError, match="not a folder of this user"):
        private_folder()


async def test_app_starts_without_a_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The watchdog still ends the process; its stack goes to stderr."""
    watchdog = Watchdog(60, handler="h", app="app", folder=tmp_path / "missing")
    watchdog.start()
    await watchdog.aclose()
    assert "No file can be kept of running calls" in caplog.text


CLOSED = """
import asyncio, sys, time
from pathlib import Path
from processing.watchdog.watchdog import Watchdog

async def main():
    watchdog = Watchdog(0.2, handler="h", app="app", folder=Path(sys.argv[1]))
    watchdog.start()
    await watchdog.aclose()
    time.sleep(0.5)

asyncio.run(main())
"""


def test_closed_watchdog_ends_no_process(tmp_path: Path) -> None:
    """The process may work on without its event loop."""
    assert (
        subprocess.run([sys.executable, "-c", CLOSED, str(tmp_path)], check=False).returncode == 0
    )
