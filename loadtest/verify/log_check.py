"""The check of the hosts' log in `blocked-loop`.

The log must name each event that blocked the event loop or held the interpreter, with its handler.
No instance may take its own blocked loop for a Redis that does not answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from loadtest.plan.marks import Fault
from loadtest.verify.evidence import Evidence, LedgerEntry
from loadtest.verify.poison_check import identify
from loadtest.verify.verdict import Diff

HANDLER = "HarmfulHandler"
_BLOCKED = ("Blocked loop:", "Blocked process:")
SILENT_REDIS = "nothing starts for up to"
"""The end of the line that an instance logs when its Redis does not answer."""


class LogCheck:
    """The check, which receives each key's handled events and then returns what is broken."""

    def __init__(self, evidence: Evidence, diff: Diff) -> None:
        self._wanted = evidence.expectation.names_blocks
        self._blocking = evidence.workload.blocking
        self._faults = evidence.workload.faults
        self._diff = diff
        self._named = [line for line in evidence.log if _names_block(line)]
        self._silent = [line for line in evidence.log if SILENT_REDIS in line]

    def handled(self, key: str, entry: LedgerEntry) -> None:
        """Record a handled event, which the log must name if it blocked the loop."""
        if self._wanted and (key, entry.counter) in self._blocking:
            self._expect(key, entry.counter, entry.partition, entry.sequence)

    def poisoned(self, messages: Iterable[Mapping[str, Any]]) -> None:
        """Record the poison messages; the log must name an event that held the interpreter."""
        for message in messages if self._wanted else ():
            if (event := identify(message)) is None:
                continue
            key, counter = event
            if self._faults.get(key, {}).get(counter) is Fault.SEIZE:
                place = message.get("partition"), message.get("sequence_number")
                self._expect(key, counter, *place)

    def _expect(self, key: str, counter: int, partition: object, sequence: object) -> None:
        part_of_id = f"/{partition}/{sequence}/"
        if not any(part_of_id in line for line in self._named):
            self._diff.add("unnamed", f"{key} #{counter} blocked its process, and no line says so")

    def broken(self) -> list[str]:
        """Return one line for each broken promise."""
        lines = []
        if self._wanted and (count := self._diff.count("unnamed")):
            lines.append(f"the log does not name {count} events that blocked their process")
        if self._wanted and self._silent:
            lines.append(
                f"{len(self._silent)} times an instance took its blocked loop for a Redis that "
                f"does not answer: {self._silent[0].strip()[:200]}"
            )
        return lines


def _names_block(line: str) -> bool:
    return HANDLER in line and any(each in line for each in _BLOCKED)


def read_lines(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the lines of some logs that this check needs."""
    return tuple(
        line
        for text in texts
        for line in text.splitlines()
        if _names_block(line) or SILENT_REDIS in line
    )
