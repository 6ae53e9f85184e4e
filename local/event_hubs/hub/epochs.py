"""The service's ownership rules for the receivers of one partition and consumer group.

This module only decides. `hub.py` stores the receivers and detaches the displaced ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from local.event_hubs.errors import LINK_STOLEN, RESOURCE_LIMIT_EXCEEDED, AmqpError

MAX_RECEIVERS = 5
"""The most receivers without an epoch per partition and consumer group."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """The ownership claim of a receiver.

    Attributes:
        name: the receiver's name, used in error texts.
        epoch: the owner level; None for a receiver without an epoch.
    """

    name: str
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """The decision about a new receiver.

    Attributes:
        refusal: the error if the receiver is refused, else None.
        displaced: the receivers to detach, each with the error for the peer.
    """

    refusal: AmqpError | None = None
    displaced: tuple[tuple[Receiver, AmqpError], ...] = ()


def admit(present: Sequence[Receiver], newcomer: Receiver) -> Admission:
    """Decide whether a partition and consumer group admits a new receiver.

    A receiver with an epoch displaces receivers with a lower or equal epoch and receivers without
    an epoch; a higher epoch refuses the receiver. A receiver without an epoch is refused if any
    receiver has an epoch, or if `MAX_RECEIVERS` are present.
    """
    owner = max((r.epoch for r in present if r.epoch is not None), default=None)
    if newcomer.epoch is None:
        if owner is not None:
            return Admission(refusal=_epoch_required(owner))
        if len(present) >= MAX_RECEIVERS:
            return Admission(refusal=_too_many(present))
        return Admission()
    if owner is not None and owner > newcomer.epoch:
        return Admission(refusal=_higher_exists(owner, newcomer))
    return Admission(displaced=tuple((old, _displaced(old, newcomer)) for old in present))


def _epoch_required(owner: int) -> AmqpError:
    return AmqpError(
        LINK_STOLEN,
        f"At least one receiver for the endpoint is created with epoch of '{owner}', and so "
        "non-epoch receiver is not allowed. Either reconnect with a higher epoch, or make sure "
        "all epoch receivers are closed or disconnected.",
    )


def _higher_exists(owner: int, newcomer: Receiver) -> AmqpError:
    return AmqpError(
        LINK_STOLEN,
        f"Receiver with a higher epoch '{owner}' already exists. Receiver '{newcomer.name}' with "
        f"epoch {newcomer.epoch} cannot be created. Make sure you are creating receiver with "
        "increasing epoch value to ensure connectivity, or ensure all old epoch receivers are "
        "closed or disconnected.",
    )


def _displaced(old: Receiver, newcomer: Receiver) -> AmqpError:
    held = f"with epoch '{old.epoch}'" if old.epoch is not None else "without epoch"
    return AmqpError(
        LINK_STOLEN,
        f"New receiver '{newcomer.name}' with higher epoch of '{newcomer.epoch}' is created hence "
        f"current receiver '{old.name}' {held} is getting disconnected. If you are recreating the "
        "receiver, make sure a higher epoch is used.",
    )


def _too_many(present: Sequence[Receiver]) -> AmqpError:
    return AmqpError(
        RESOURCE_LIMIT_EXCEEDED,
        "Exceeded the maximum number of allowed receivers per partition in a consumer group which "
        f"is {MAX_RECEIVERS}. List of connected receivers - "
        f"{', '.join(receiver.name for receiver in present)}.",
    )
