"""Deferral: why a key is deferred, since when, and when its next replay is due."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Self

from processing.formats import json_text

FIRST_PAUSE_SECONDS = 1.0
"""Pause before the first replay; each further failed replay doubles the pause."""
LONGEST_PAUSE_SECONDS = 24 * 3600.0
"""Longest pause that an error can ask for, which may be infinite."""
ERROR_CHARS = 200


class DeferralReason(StrEnum):
    """Why the first event of a deferred key cannot be handled now."""

    DEPENDENCY = "dependency"  # a dependency is down
    THROTTLED = "throttled"  # a dependency limits the rate of calls
    REFUSED = "refused"  # an open circuit refused the call
    FAULTY = "faulty"  # the handler returned a result that nobody awaits


@dataclass(frozen=True, slots=True)
class Deferral:
    """The deferral of a key; all times are seconds since 1970 by the store's clock.

    Attributes:
        reason: why the first event of the key failed.
        since: time at which the key was deferred; the store sets it.
        last_try: time of the deferral or of the last failed replay; the store sets it.
        dependency: name of the dependency that failed, or "" if it is not known.
        error: the last error, type and message, at most `ERROR_CHARS` characters.
        attempts: failed attempts of the first event, in place and in replays.
        tries: failed replays of the first event; they double the pause.
        rounds: failed replays of the first event while its dependency served other keys.
        generation: the circuit's generation at the last failure.
        admitted_seconds: time since the first event's failure in which the circuit was closed.
        head: position of the first event, which the numbers concern; "" if it is not known.
        first_attempt: time of the first event's first attempt, by the clock of the instance that
            made the attempt; only shown; 0.0 if it is not known.
    """

    reason: DeferralReason
    since: float = 0.0
    last_try: float = 0.0
    dependency: str = ""
    error: str = ""
    attempts: int = 0
    tries: int = 0
    rounds: int = 0
    generation: int = 0
    admitted_seconds: float = 0.0
    head: str = ""
    first_attempt: float = 0.0

    def pause_seconds(self, most: float, retry_after: float | None = None) -> float:
        """Return the pause before the next replay.

        Args:
            most: longest pause (`defer_max_seconds`).
            retry_after: pause that the last error asked for; a longer pause than `most` wins.
        """
        pause = min(most, FIRST_PAUSE_SECONDS * 2.0 ** min(self.tries, 60))
        return min(max(pause, retry_after or 0.0), LONGEST_PAUSE_SECONDS)

    def clipped(self) -> Self:
        """Return the deferral with at most `ERROR_CHARS` characters of the error."""
        return replace(self, error=self.error[:ERROR_CHARS])

    def to_json(self) -> str:
        """Return the deferral as JSON; `since` and `last_try` are stored beside it."""
        found = asdict(self.clipped())
        del found["since"], found["last_try"]
        return json_text.dumps(found)

    @classmethod
    def from_json(cls, text: str | bytes, *, since: float, last_try: float) -> Self:
        """Parse a deferral.

        Raises:
            ValueError: the text is not a deferral.
        """
        try:
            found = json.loads(text)
            reason = DeferralReason(found.pop("reason"))
            return cls(reason, since=since, last_try=last_try, **found)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a deferral: {type(error).__name__}: {error}") from None
