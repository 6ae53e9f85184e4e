"""The error conditions of the service, and the exception that reports one to the peer.

Every refusal is an `AmqpError`. The exception sets only the condition and the description. The
refused object decides the form: a link is detached, a delivery is rejected.
"""

from __future__ import annotations

NOT_FOUND = "amqp:not-found"
UNAUTHORIZED = "amqp:unauthorized-access"
DECODE_ERROR = "amqp:decode-error"
NOT_ALLOWED = "amqp:not-allowed"
ILLEGAL_STATE = "amqp:illegal-state"
INTERNAL_ERROR = "amqp:internal-error"
RESOURCE_LIMIT_EXCEEDED = "amqp:resource-limit-exceeded"
CONNECTION_FORCED = "amqp:connection:forced"
FRAMING_ERROR = "amqp:connection:framing-error"
DETACH_FORCED = "amqp:link:detach-forced"
MESSAGE_SIZE_EXCEEDED = "amqp:link:message-size-exceeded"
LINK_STOLEN = "amqp:link:stolen"
SERVER_BUSY = "com.microsoft:server-busy"
ARGUMENT_ERROR = "com.microsoft:argument-error"
AUTH_FAILED = "com.microsoft:auth-failed"
ARGUMENT_OUT_OF_RANGE = "com.microsoft:argument-out-of-range"


class AmqpError(Exception):
    """A refusal that is reported to the peer.

    Attributes:
        condition: the symbol that SDKs evaluate, for example `amqp:not-found`.
        description: a sentence for people.
    """

    def __init__(self, condition: str, description: str) -> None:
        super().__init__(f"{condition}: {description}")
        self.condition = condition
        self.description = description


def entity_not_found(path: str) -> AmqpError:
    """Return the service's error for a messaging entity that does not exist."""
    return AmqpError(NOT_FOUND, f"The messaging entity '{path}' could not be found.")


def invalid_partition(partitions: int) -> AmqpError:
    """Return the service's error for a link to a partition that does not exist."""
    return AmqpError(
        ARGUMENT_OUT_OF_RANGE,
        "The specified partition is invalid for an EventHub partition sender or receiver. It "
        f"should be between 0 and {partitions - 1}.",
    )


def malformed(problem: str) -> AmqpError:
    """Return the error for bytes that are not valid AMQP."""
    return AmqpError(DECODE_ERROR, f"The message cannot be decoded: {problem}.")
