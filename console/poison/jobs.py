"""A job over the poison queue: what was asked for, by whom, and what came of it."""

from __future__ import annotations

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
GONE = "it is not in the poison queue (any more)"


@dataclass(slots=True, eq=False)
class Job:
    """A redrive or, with a `reason`, the discarding of one event.

    Attributes:
        selection: as the page sent it.
        done, total: events so far, and altogether.
        stopping: why it should start nothing more, or "".
        redrive: what runs, once it does.
    """

    by: str
    selection: dict[str, Any]
    reason: str = ""
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    done: int = 0
    total: int = 0
    stopping: str = ""
    redrive: Redrive | None = None

    def stop(self, why: str) -> None:
        """Start no further event, whether it has begun or still waits for its turn."""
        self.stopping = why
        if self.redrive is not None:
            self.redrive.stop(why)

    def document(self, **result: Any) -> dict[str, Any]:
        """What browsers are told."""
        return {
            "job": self.id,
            "by": self.by,
            "selection": self.selection,
            "reason": self.reason,
            "time": time.time_ns() // 1_000_000,
            "replayed": self.done,
            "left": max(0, self.total - self.done),
            "failed": 0,
            "discarded": False,
            "stopped": "",
            "done": False,
        } | result

    @property
    def selection_text(self) -> str:
        """The selection for people."""
        if "id" in self.selection:
            return f"event {self.selection['id']}"
        return f"key {self.selection['key']}" if "key" in self.selection else "everything"

    @property
    def start_line(self) -> str:
        """The log's line when it begins."""
        if self.reason:
            return f"discards {self.selection_text}: {self.reason}"
        return f"redrives {self.selection_text}"

    def result(self, summary: RedriveSummary, decision: Discard | None = None) -> dict[str, Any]:
        """The last that browsers are told."""
        stopped = summary.stopped
        if summary.busy and not stopped:
            stopped = f"{summary.busy} keys are being replayed elsewhere"
        reached = summary.replayed + len(summary.failed) + summary.left
        if "id" in self.selection and not (reached or stopped):
            stopped = "its event was replayed before" if summary.stale else GONE
        discarded = decision is not None and decision.recorded
        return self.document(
            replayed=summary.replayed - discarded,
            left=summary.left,
            failed=len(summary.failed),
            discarded=discarded,
            stopped=stopped,
            done=True,
            seconds=round(summary.seconds, 3),
        )

    def end_line(self, result: dict[str, Any]) -> str:
        """The log's line when it is over."""
        counts = f"{result['replayed']} handled, {result['failed']} failed again"
        end = f"{counts}, {result['left']} left"
        if result["stopped"]:
            end += f"; stopped: {result['stopped']}"
        if not self.reason:
            return f"redrive of {self.selection_text}: {end}"
        verdict = "discarded" if result["discarded"] else "did not discard"
        return f"{verdict} {self.selection_text}: {self.reason}; behind it: {end}"


def selection_in(document: dict[str, Any]) -> dict[str, Any]:
    """The one of `id`, `key` and `all` that is there.

    Raises:
        HTTPException: 400 for none, several, or one of another form.
    """
    given = [name for name in ("id", "key", "all") if document.get(name) is not None]
    if len(given) != 1 or (given == ["all"] and document["all"] is not True):
        raise HTTPException(400, 'it takes one of {"id": ...}, {"key": ...} and {"all": true}')
    if given == ["all"]:
        return {"all": True}
    if given == ["id"]:
        return {"id": text_in(document, "id", ID_CHARS)}
    key = document["key"]
    if not isinstance(key, str) or len(key) > KEY_CHARS:
        raise HTTPException(400, f"key is not a text of at most {KEY_CHARS} characters")
    return {"key": key}  # as it is: a key may be empty, or have spaces around it
