"""The start position of a receiver: the selector filter of SDKs, and the position in a log.

An example is `amqp.annotation.x-opt-offset > '120'`. The name is offset, sequence-number or
enqueued-time, the operator is > or >=, and the value is quoted (Python) or not quoted (.NET).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from local.event_hubs.errors import ARGUMENT_ERROR, AmqpError
from local.event_hubs.hub.partition_log import PartitionLog

_SELECTOR = re.compile(
    r"\s*amqp\.annotation\.x-opt-(offset|sequence-number|enqueued-time)\s*(>=?)\s*"
    r"(?:'([^']*)'|([^\s']+))\s*"
)


class Field(Enum):
    """The measure of a position."""

    OFFSET = "offset"
    SEQUENCE_NUMBER = "sequence-number"
    ENQUEUED_TIME = "enqueued-time"


@dataclass(frozen=True, slots=True)
class Position:
    """A start position.

    Attributes:
        field: the measure of `value`: an offset, a sequence number, or ms since 1970.
        value: the position; None means the end, so that only new events are delivered.
        inclusive: whether an event exactly at the position is delivered.
    """

    field: Field
    value: int | None
    inclusive: bool = False


START = Position(Field.OFFSET, -1)
LATEST = Position(Field.OFFSET, None)


def parse_selector(selector: str) -> Position:
    """Parse a selector filter.

    Raises:
        AmqpError: `com.microsoft:argument-error`, the selector has another form.
    """
    match = _SELECTOR.fullmatch(selector)
    if match is None:
        raise AmqpError(
            ARGUMENT_ERROR,
            f"The selector filter {selector!r} is not supported. A filter must compare "
            "amqp.annotation.x-opt-offset, x-opt-sequence-number or x-opt-enqueued-time "
            "to one value with > or >=.",
        )
    field, value = Field(match[1]), match[3] if match[3] is not None else match[4]
    if field is Field.OFFSET and value == "@latest":
        return LATEST
    try:
        return Position(field, int(value), match[2] == ">=")
    except ValueError:
        raise AmqpError(
            ARGUMENT_ERROR, f"The supplied {field.value} '{value}' is invalid. It must be a number."
        ) from None


def first_sequence(position: Position, log: PartitionLog) -> int:
    """Return the sequence number of the first event to deliver.

    Raises:
        AmqpError: `com.microsoft:argument-error`, the position is beyond the end of the log, for
            example an old checkpoint after the hub was recreated.
    """
    value = position.value
    if value is None:
        return log.last_sequence + 1
    if position.field is Field.ENQUEUED_TIME:
        return log.sequence_at_time(value if position.inclusive else value + 1)
    if position.field is Field.OFFSET:
        if value > max(log.last_offset, 0):
            raise _beyond_end("offset", value, log.last_offset)
        return log.sequence_at_offset(value if position.inclusive else value + 1)
    sequence = value if position.inclusive else value + 1
    if sequence > log.last_sequence + 1:
        raise _beyond_end("sequence number", value, log.last_sequence)
    return max(sequence, log.begin_sequence)


def _beyond_end(what: str, value: int, last: int) -> AmqpError:
    return AmqpError(
        ARGUMENT_ERROR,
        f"The supplied {what} '{value}' is invalid. The last {what} in the system is '{last}'",
    )
