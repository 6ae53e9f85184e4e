"""Reports about processes that have died, from the files that they have left."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

from processing.watchdog.recorder import RECORDS_BYTES, SLOT_BYTES, SUFFIX

logger = logging.getLogger(__name__)

STACK_CHARS = 12_000
STALE_SECONDS = 7 * 24 * 3600.0
"""Age at which the file of any app's dead process is removed unread."""
MOST_CALLS = 20


@dataclass(frozen=True, slots=True)
class DeathReport:
    """The records and the stacks that a dead process has left.

    Attributes:
        pid: its process id.
        handler: the name of its handler.
        calls: the ids of the events whose calls ran; the last one to begin comes first.
        batches: the batches that ran: partition, first and last sequence number.
        stack: the stacks of its threads if the watchdog ended the process, else "".
    """

    pid: int
    handler: str
    calls: tuple[str, ...]
    batches: tuple[str, ...]
    stack: str

    @property
    def running(self) -> str:
        """The calls that ran, or the batches if no call is known."""
        if self.calls:
            more = len(self.calls) - MOST_CALLS
            shown = ", ".join(self.calls[:MOST_CALLS])
            return f"event {shown}" + (f" and {more} more" if more > 0 else "")
        return ", ".join(self.batches) or "no event"


def take_death_reports(folder: Path, app: str) -> list[DeathReport]:
    """Return the reports of the app's dead processes on this machine, and remove their files.

    Each file goes to one caller. The file of a living process is locked and stays. Old files of
    other apps' dead processes are also removed.
    """
    found = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        is_own = path.name.startswith(f"{app}-")
        try:
            if not is_own and time.time() - path.stat().st_mtime < STALE_SECONDS:
                continue
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.fstat(file).st_nlink:
                continue  # another caller has taken the file
            path.unlink()
            if not is_own:
                continue
            found.append(_parse(os.pread(file, RECORDS_BYTES + 4 * STACK_CHARS, 0)))
        except (OSError, LookupError, TypeError, ValueError):
            # The file is locked by its process, or not of this version of the program.
            continue
        finally:
            os.close(file)
    return found


def log_death_report(report: DeathReport, watchdog_seconds: float) -> None:
    """Log what a dead process has left, if it left anything."""
    if report.stack:
        logger.error(
            "Blocked process: process %d stood still for %g s (PROCESSING_WATCHDOG_SECONDS) in "
            "handler %s and was ended; it ran %s. The batch is delivered again; if the event does "
            "this again, careful mode finds the event and poisons it. The stacks:\n%s",
            *(report.pid, watchdog_seconds, report.handler, report.running, report.stack),
        )
    elif report.calls or report.batches:
        logger.warning(
            "Process %d died and left no stack, as after SIGKILL or without memory; its handler "
            "%s ran %s, which is delivered again",
            *(report.pid, report.handler, report.running),
        )


def _parse(data: bytes) -> DeathReport:
    slots = [data[start : start + SLOT_BYTES] for start in range(0, RECORDS_BYTES, SLOT_BYTES)]
    texts = [slot.partition(b"\0")[0].decode(errors="replace") for slot in slots]
    head = json.loads(texts[0])
    records = [text.split("\t") for text in texts[1:] if text]
    records.sort(key=lambda record: float(record[1]), reverse=True)
    late = [record[-1] for record in records if record[0] == "late"]
    calls = [record[-1] for record in records if record[0] == "call"]
    return DeathReport(
        int(head["pid"]),
        str(head["handler"]),
        tuple(dict.fromkeys(late + calls)),
        tuple(f"batch {record[-1]}" for record in records if record[0] == "batch"),
        data[RECORDS_BYTES:].decode(errors="replace").strip()[:STACK_CHARS],
    )
