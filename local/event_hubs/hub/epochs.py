"""Who may read a partition: the service's ownership rules for one consumer group.

Pure decisions; `hub.py` keeps the books and `subscription.py` carries the verdict out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from local.event_hubs.errors import LINK_STOLEN, RESOURCE_LIMIT_EXCEEDED, AmqpError

MAX_RECEIVERS = 5
"""Receivers without an epoch per partition and consumer group."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """A receiver's claim: its link's name, and its epoch (owner level) if it has one."""

    name: str
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """What a newcomer causes.

    Attributes:
        refusal: why it may not come in, or None.
        displaced: receivers that must go for it, each with what it is told.
    """

    refusal: AmqpError | None = None
    displaced: tuple[tuple[Receiver, AmqpError], ...] = ()


def admit(present: Sequence[Receiver], newcomer: Receiver) -> Admission:
    """Decide about a newcomer among the receivers of one partition and consumer group.

    An epoch takes over from a lower or equal one and from receivers without; it is refused by a
    higher one. Without an epoch a receiver is refused by any epoch, and as the sixth of its kind.
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
