"""Job over the poison queue: the operator, the selection and the result."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException

from console.web.requests import text_in

if TYPE_CHECKING:
    from processing.redrive.discard import Discard
    from processing.redrive.redrive import Redrive
    from processing.redrive.summary import RedriveSummary

ID_CHARS = 1_024
KEY_CHARS = 256
GONE = "the event is not in the poison queue"


@dataclass(slots=True, eq=False)
class Job:
    """A redrive or, with a `reason`, the discarding of one event.

    Attributes:
        by: the operator.
        selection: the selection as the page sent it.
        reason: why the event is discarded; "" for a redrive.
        id: the job's id.
        done: number of events finished so far.
        total: number of selected events.
        stopping: why the job must start no further event, or "".
        redrive: the running redrive, or None.
        deciding: the search for the event of a discard, which may receive the whole queue, or None.
    """

    by: str
    selection: dict[str, Any]
    reason: str = ""
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    done: int = 0
    total: int = 0
    stopping: str = ""
    redrive: Redrive | None = None
    deciding: asyncio.Task[Discard] | None = None

    def stop(self, why: str) -> None:
        """Start no further event; also stop a job that has not begun yet."""
        self.stopping = why
        if self.redrive is not None:
            self.redrive.stop(why)
        if self.deciding is not None:
            self.deciding.cancel()

    def document(self, **result: Any) -> dict[str, Any]:
        """Return the message to the browsers."""
        return {
            "job": self.id,
            "by": self.by,
            "selection": self.selection,
            "reason": self.reason,
            "time": time.time_ns() // 1_000_000,
            "replayed": self.done,
            "left": max(0, self.total - self.done),
            "failed": 0,
            "lost": 0,
            "discarded": False,
            "body_lost": "",
            "deferred": 0,
            "other_apps": "",
            "stopped": "",
            "done": False,
        } | result

    @property
    def selection_text(self) -> str:
        """Selection as a text for people."""
        if "id" in self.selection:
            return f"event {self.selection['id']}"
        return f"key {self.selection['key']}" if "key" in self.selection else "everything"

    @property
    def start_line(self) -> str:
        """Log line for the start of the job."""
        if self.reason:
            return f"discards {self.selection_text}: {self.reason}"
        return f"redrives {self.selection_text}"

    def result(self, summary: RedriveSummary, decision: Discard | None = None) -> dict[str, Any]:
        """Return the job's final message, which is sent to the browsers."""
        stopped = summary.stopped
        if summary.busy and not stopped:
            stopped = (
                f"{summary.busy:,} of the keys were skipped, because another redrive or the app "
                "replays them, or another reader holds their messages"
            )
        if summary.held_elsewhere and not stopped:
            stopped = f"somebody else holds {summary.held_elsewhere} messages, which were not tried"
        if summary.still_deferred and not stopped:
            first = summary.still_deferred[0]
            more = len(summary.still_deferred) - 1
            stopped = f"the key stays deferred, because {first.type}: {first.message}"[:500]
            stopped += f"; {more} more keys stay deferred" if more else ""
        from processing.poison.other_apps import left_alone  # noqa: PLC0415 - loaded by now

        reached = summary.replayed + len(summary.failed) + summary.left
        if "id" in self.selection and not (reached or stopped):
            stopped = "the event was replayed before" if summary.stale else GONE
        discarded = decision is not None and decision.recorded
        return self.document(
            replayed=summary.replayed - discarded,
            left=summary.left,
            failed=len(summary.failed),
            discarded=discarded,
            lost=summary.lost,
            body_lost=decision.body_lost_reason if decision is not None else "",
            deferred=summary.deferred,
            other_apps=left_alone(summary.other_apps),
            stopped=stopped,
            done=True,
            seconds=round(summary.seconds, 3),
        )

    def end_line(self, result: dict[str, Any]) -> str:
        """Return the log line for the end of the job."""
        counts = f"{result['replayed']} handled, {result['failed']} failed again"
        if result["lost"]:
            counts += f" ({result['lost']} because the body is lost)"
        end = f"{counts}, {result['left']} left"
        if result["deferred"]:
            end += f", {result['deferred']} deferred keys left alone"
        if result["other_apps"]:
            end += f"; {result['other_apps']}"
        if result["stopped"]:
            end += f"; stopped: {result['stopped']}"
        if not self.reason:
            return f"redrive of {self.selection_text}: {end}"
        verdict = "discarded" if result["discarded"] else "did not discard"
        lost = ""
        if result["discarded"] and result["body_lost"]:
            lost = f"; the record has no body, because the body was lost: {result['body_lost']}"
        return f"{verdict} {self.selection_text}: {self.reason}{lost}; events behind it: {end}"


def selection_in(document: dict[str, Any]) -> dict[str, Any]:
    """Return the selection: one of the fields `id`, `key` and `all`.

    Raises:
        HTTPException: 400 if none or several are set, or if the value is invalid.
    """
    given = [name for name in ("id", "key", "all") if document.get(name) is not None]
    if len(given) != 1 or (given == ["all"] and document["all"] is not True):
        raise HTTPException(
            400, 'the body takes one of {"id": ...}, {"key": ...} and {"all": true}'
        )
    if given == ["all"]:
        return {"all": True}
    if given == ["id"]:
        return {"id": text_in(document, "id", ID_CHARS)}
    key = document["key"]
    if not isinstance(key, str) or len(key) > KEY_CHARS:
        raise HTTPException(400, f"key is not a text of at most {KEY_CHARS} characters")
    return {"key": key}  # unchanged, because a key may be empty or have spaces around it
