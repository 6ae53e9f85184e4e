"""The reasons for which a partition does not continue, and the operator's response to each."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from breaker import CircuitOpenError, StoreUnavailableError
from breaker.state import clip
from processing.errors import (
    DependencyUnavailableError,
    FaultyHandlerError,
    FormatError,
    OverdueEventError,
    OwnershipLostError,
    ParkedEventsLostError,
    ParkingFullError,
    PipelineRenamedError,
    RecreatedHubError,
    ShutdownError,
    StorageUnavailableError,
)
from processing.handlers.raised import describe, type_name


class Why(StrEnum):
    """The reason for which the first unfinished event of a partition does not change."""

    CIRCUIT = "circuit"  # a circuit is open or half-open: the app's, or one of the handler's own
    DEPENDENCY = "dependency"  # the circuit of a dependency is open or half-open
    ISOLATED = "isolated"  # an operator isolated the circuit
    PAUSED = "paused"  # an operator paused the partition
    RAMP = "ramp"  # the circuit has just closed, and the lane waits for its turn
    FAILING = "failing"  # attempts fail, and the retry policy makes further attempts
    KEPT = "kept"  # a dependency is down, and the event keeps its place
    KEYLESS = "keyless"  # as KEPT; events without a key keep their order and are never deferred
    FAULTY = "faulty"  # the handler returned a result that nobody awaits
    FULL = "full"  # the parked lists of the partition have reached a limit
    STORAGE = "storage"  # Redis, the hub, the poison queue or a blob container does not answer
    LOST = "lost"  # Redis has lost the parked events of the partition
    RECREATED = "recreated"  # the hub was recreated, and the checkpoint is beyond its first event
    NEWER = "newer"  # a newer version of the app wrote the partition's data
    RENAMED = "renamed"  # data of the partition wait under the name of another pipeline
    OVERDUE = "overdue"  # a call of the handler runs longer than its time limit
    RESTARTED = "restarted"  # the event was begun again: a crash loop, or owners that change
    NOT_HANDED_OVER = "not handed over"  # no instance has received the event
    DEFERRED = "deferred"  # a key is deferred although its dependency serves other keys
    ERROR = "error"  # another error ended the invocation


HOLDING = frozenset({Why.CIRCUIT, Why.DEPENDENCY, Why.ISOLATED, Why.PAUSED, Why.RAMP})
"""The reasons that are no stall, however long they last."""

RESPONSES: Mapping[Why, str] = {
    Why.CIRCUIT: "Decide about the circuit: approve the opening when its cause is gone.",
    Why.DEPENDENCY: (
        "Wait until the dependency answers: its circuit closes by itself, unless its recovery is "
        "manual or the circuit is isolated."
    ),
    Why.ISOLATED: "Close the circuit when the isolation may end.",
    Why.PAUSED: "Resume the partition when the pause may end.",
    Why.FAILING: "Correct the cause of the handler's error; the event is retried until then.",
    Why.KEPT: "Check the dependency that the error names; the event is retried until it succeeds.",
    Why.KEYLESS: (
        "Check the dependency that the error names, or give the event up with "
        "`breakwater parked poison-head {partition}`."
    ),
    Why.FAULTY: "Correct the handler and deploy it; its events are kept until then.",
    Why.FULL: (
        "Check why events are parked or deferred, then run `breakwater redrive`; the "
        "partition continues when its lists have room."
    ),
    Why.STORAGE: (
        "Check the storage account, Redis and the event hub; the partition continues when they "
        "answer."
    ),
    Why.LOST: (
        "Run `breakwater rewind --to-mark --partition {partition} --restart`, which "
        "stops and starts the app, to process the lost events again."
    ),
    Why.RECREATED: (
        "Run `breakwater rewind --partition {partition} --to-start --restart`, which "
        "stops and starts the app, so that the events of the recreated hub are processed from the "
        "first one on."
    ),
    Why.NEWER: "Deploy the newer version of the app to all instances.",
    Why.RENAMED: (
        "Give the hub its former pipeline again, as the health report says; rename it when nothing "
        "waits under that name."
    ),
    Why.OVERDUE: (
        "Find out why the handler does not return; restart the instance if the call never ends. "
        "An event that is not called again can be given up with "
        "`breakwater parked poison-head {partition}`."
    ),
    Why.RESTARTED: (
        "Look for crashes in the logs of the instances; the event may end the process that "
        "handles it."
    ),
    Why.NOT_HANDED_OVER: (
        "Check whether the app runs, whether its processes crash, and whether its trigger reports "
        "errors; restart the app if the log shows nothing."
    ),
    Why.DEFERRED: (
        "Check the key's error: `breakwater parked list` shows it; redrive the key by "
        "name after the correction."
    ),
    Why.ERROR: "Look for the error in the log; the batch runs again until it succeeds.",
}


def todo(why: Why, partition: str) -> str:
    """Return one sentence: the operator's response; "" if none is needed."""
    return RESPONSES.get(why, "").replace("{partition}", partition)


# None: the error itself explains nothing; the circuit's state says whether the circuit holds.
_BY_ERROR: tuple[tuple[type[BaseException], Why | None], ...] = (
    (ShutdownError, None),
    (OwnershipLostError, None),
    (CircuitOpenError, None),
    (ParkedEventsLostError, Why.LOST),
    (RecreatedHubError, Why.RECREATED),
    (ParkingFullError, Why.FULL),
    (StorageUnavailableError, Why.STORAGE),
    (StoreUnavailableError, Why.STORAGE),
    (FormatError, Why.NEWER),
    (PipelineRenamedError, Why.RENAMED),
    (FaultyHandlerError, Why.FAULTY),
    (OverdueEventError, Why.OVERDUE),
    (DependencyUnavailableError, Why.KEPT),
)


def why_of(error: BaseException) -> Why | None:
    """Return the reason that an invocation's error stands for; None: the error explains nothing."""
    for kind, why in _BY_ERROR:
        if isinstance(error, kind):
            return why
    return Why.ERROR


def text_of(error: BaseException | str) -> str:
    """Return an error's type and message, clipped; a text stays as it is."""
    if isinstance(error, str):
        return clip(error)
    return clip(f"{type_name(error)}: {describe(error)}")
