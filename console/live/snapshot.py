"""Snapshot for a browser without a usable cursor: the state after all messages so far."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from typing import Any

from console.backplane.stream import LOG, Message

COUNTERS = ("poison_count", "poison_of_others", "parked_keys", "deferred_keys")
"""Counters in the rows of vitals.

`poison_of_others` counts other apps' events in the same queue. All keys with a list are parked
keys, deferred ones, too.
"""

LINES = 200
VITALS = 600


class Snapshot:
    """The state after the last message that was applied.

    The data stay encoded as JSON; only the counters are decoded.
    """

    def __init__(self) -> None:
        self._log: deque[str] = deque(maxlen=LINES)
        self._vitals: deque[str] = deque(maxlen=VITALS)
        self._partitions = "null"
        self._redrive = "null"
        self._rewind = "null"
        self._app = "null"

    def apply(self, message: Message) -> None:
        """Apply a message."""
        match message.kind:
            case "log":
                self._log.append(message.data)
            case "vitals":
                self._vitals.append(message.data)
            case "partitions":
                self._partitions = message.data
            case "redrive":
                self._redrive = message.data
            case "rewind":
                self._rewind = message.data
            case "app":
                self._app = message.data

    def log_before(self, lines: Sequence[Message]) -> None:
        """Add log lines that are older than the messages."""
        room = LINES - len(self._log)  # a full deque would drop the newest
        older = [message.data for message in lines if message.kind == LOG]
        self._log.extendleft(older[::-1][:room])

    @property
    def last_vitals(self) -> dict[str, Any] | None:
        """Last row of vitals."""
        return json.loads(self._vitals[-1]) if self._vitals else None

    @property
    def partitions_text(self) -> str:
        """Last table of the partitions, as JSON."""
        return self._partitions

    @property
    def redrive_text(self) -> str:
        """Last message about a redrive, as JSON."""
        return self._redrive

    @property
    def redrive(self) -> dict[str, Any] | None:
        """Last message about a redrive."""
        found: dict[str, Any] | None = json.loads(self._redrive)
        return found

    @property
    def rewind(self) -> dict[str, Any] | None:
        """Last message about a rewind."""
        found: dict[str, Any] | None = json.loads(self._rewind)
        return found

    def encoded(
        self,
        *,
        cursor: str | None,
        instance: str,
        circuit: str,
        history: str,
        dependencies: str = "[]",
        pipelines: str = "[]",
    ) -> str:
        """Return the encoded message to a browser; circuits, history and pipelines are JSON."""
        counters: dict[str, Any] = json.loads(self._vitals[-1]) if self._vitals else {}
        names = json.dumps({"cursor": cursor, "instance": instance})[1:-1]
        counts = json.dumps({name: counters.get(name) for name in COUNTERS})
        return (
            f'{{"type":"snapshot",{names},"data":{{"circuit":{circuit},"history":{history},'
            f'"dependencies":{dependencies},"pipelines":{pipelines},"partitions":{self._partitions},"vitals":[{",".join(self._vitals)}],'
            f'"log":[{",".join(self._log)}],"redrive":{self._redrive},"rewind":{self._rewind},"app":{self._app},'
            f"{counts[1:-1]}}}}}"
        )
