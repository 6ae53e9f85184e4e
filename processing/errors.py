"""The errors of processing, including those that a handler may raise.

ProcessingError
├── PoisonEventError            raised by a handler: this event can never succeed
│   └── CrashLoopError          the event ends each process that handles it
├── DependencyUnavailableError  raised by a handler: a dependency is down; keep the event
│   └── DependencyRefusedError  the dependency's circuit is open; `dependency()` makes no call
├── UndecodableEventError       the event's body is not what the handler decodes; poison at once
│   ├── EventTextError          the body is not UTF-8 (a UnicodeDecodeError)
│   ├── EventJSONError          the body is not JSON (a json.JSONDecodeError)
│   ├── EventModelError         the body does not fit the type of the handler's first parameter
│   └── EventRouteError         no route takes the event's type, and there is no default
├── FaultyHandlerError          the handler returned a result that nobody awaits
├── OverdueEventError           a call of the event outlasted its invocation; it is not started
├── StorageUnavailableError     Redis, the poison queue or a blob container did not answer
│   └── ParkingFullError        the parked lists have reached a limit; their partition holds
├── CheckpointUnreadableError   a checkpoint's blob has no sequence number
├── AppRunningError             a host owns the partition, and would overwrite its checkpoint
├── ParkedEventsLostError       Redis has lost parked events; an operator must rewind
├── RecreatedHubError           the hub was recreated; an operator must rewind
├── PipelineRenamedError        data of the hub wait under the name of another pipeline
├── BodyLostError               the blob with an event's body was deleted or replaced
├── RedriveRunningError         another redrive of all events is running
├── OtherAppError               the event belongs to another app; a tool leaves it alone
├── BodyMissingError            a message without its body must not overwrite its blob
├── OwnershipLostError          another instance owns the partition now
├── LeaseLostError              the replay lease expired; another redrive may replay the key
├── ShutdownError               the instance is shutting down; the batch is not finished
│   └── OutOfTimeError          the invocation's time is used up; the batch runs again
├── MalformedBatchError         the trigger's metadata does not match its events
├── FormatError                 a newer version of the app wrote the data
├── HandlerLoadError            EVENT_HANDLER does not name a handler that can do its work
│   └── HandlerStartError       the handler could not be built or started; no event starts
├── SiteError                   the function app could not be read, stopped or started
└── SettingsError               a setting is missing, unknown or out of bounds
    └── MissingSettingError     a required setting is missing
"""

from __future__ import annotations

import json
from datetime import timedelta

from breaker.configuration.errors import ConfigurationError


class ProcessingError(Exception):
    """The base class of all errors of processing."""


class PoisonEventError(ProcessingError):
    """A handler's error for an event that can never succeed.

    The event goes to the poison queue without a retry.

    Example:
        >>> from breakwater import Event, PoisonEventError
        >>> from breakwater.testing import event, run
        >>> async def handle(event: Event) -> None:
        ...     if "amount" not in event.json():
        ...         raise PoisonEventError("no amount")
        >>> bad = event({}, key="alice")
        >>> outcome = run(handle, [bad])
        >>> outcome.of(bad).state, outcome.of(bad).why
        ('poisoned', 'processing.errors.PoisonEventError: no amount')
    """


class CrashLoopError(PoisonEventError):
    """An error for an event that ended the processes that handled it; no handler raises it."""


class DependencyUnavailableError(ProcessingError):
    """A handler's error for a dependency that is down; the event is kept and retried.

    Args:
        message: says what is down.
        dependency: name of the dependency whose circuit counts the failure, as in `dependency()`.
            None: the dependency of the block that the error leaves, or else the app's circuit.
        retry_after: pause until the next attempt, if known: seconds as a number or as text, an HTTP
            date (the value of a `Retry-After` header), or a timedelta. A value of 0 or below
            counts as None. A pause never lasts longer than the invocation's `hold_seconds`.

    Example:
        >>> from breakwater import DependencyUnavailableError, Event
        >>> from breakwater.testing import event, run
        >>> async def handle(event: Event) -> None:
        ...     raise DependencyUnavailableError("the bank is closed", retry_after=30)
        >>> first, second = event("1", key="alice"), event("2", key="alice")
        >>> outcome = run(handle, [first, second])
        >>> outcome.deferred == [first], outcome.parked == [second]
        (True, True)
    """

    def __init__(
        self,
        message: str,
        *,
        dependency: str | None = None,
        retry_after: float | str | timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.dependency = dependency
        self.retry_after = retry_after


class DependencyRefusedError(DependencyUnavailableError):
    """An error of `dependency()`: the dependency's circuit is not closed, and no call was made.

    The event's key is deferred at once, and no circuit counts the event. A handler may catch the
    error and do without the dependency.
    """


class UndecodableEventError(ProcessingError, ValueError):
    """The base class of the errors of `Event.json`, `Event.text` and the body's model.

    The event can never succeed and goes to the poison queue at once, even if the handler raises
    another error from this one. An error of the same kind from another source, such as the answer
    of a server that is not JSON, is an ordinary error.
    """


class EventTextError(UndecodableEventError, UnicodeDecodeError):
    """An error for a body that is not UTF-8."""


class EventJSONError(UndecodableEventError, json.JSONDecodeError):
    """An error for a body that is not JSON."""


class EventModelError(UndecodableEventError):
    """An error for a body that does not fit the type of the handler's first parameter.

    The text names the type and the wrong fields, but contains no value of the body.
    """


class EventRouteError(UndecodableEventError):
    """An error for an event whose type has no route, while the routes have no default.

    The text names the type, cut to `LONGEST_NAME` characters, and the known routes.
    """


class FaultyHandlerError(ProcessingError):
    """An error for a handler whose result shows that its work was never done or awaited.

    The handler is at fault, not the event: the event is kept, and the handler must be corrected.
    """


class OverdueEventError(ProcessingError):
    """An error for an event whose call had not ended at the end of an earlier invocation.

    The platform may have ended a whole process for this event, so the event is deferred without
    another call, and its partition continues.
    """


class StorageUnavailableError(ProcessingError):
    """An error of Redis, the poison queue or a blob container during a read or a write."""


class ParkingFullError(StorageUnavailableError):
    """An error for parked lists that have reached a limit; replays or a redrive make room."""


class CheckpointUnreadableError(ProcessingError, ValueError):
    """An error for a checkpoint's blob without a sequence number.

    `rewind --to-start` replaces the checkpoint.
    """


class AppRunningError(ProcessingError):
    """An error for a checkpoint that a running host would overwrite; the app must be stopped."""


class ParkedEventsLostError(ProcessingError):
    """An error for a partition whose parked events are lost, because Redis lost its data."""


class RecreatedHubError(ProcessingError):
    """An error for a partition whose progress or checkpoint belongs to a hub that was deleted."""


class PipelineRenamedError(ProcessingError):
    """Data of the hub and consumer group wait under another pipeline's name; no batch starts."""


class BodyLostError(ProcessingError):
    """An error for an event whose blob was deleted or replaced; a retry does not help."""


class RedriveRunningError(ProcessingError):
    """An error for a redrive of all events while another one is running; nothing is replayed."""


class OtherAppError(ProcessingError):
    """An error for an action on an event that belongs to another app."""


class BodyMissingError(ProcessingError):
    """An error for a write that would replace an event's only copy by one without its body."""


class OwnershipLostError(ProcessingError):
    """An error for a partition that another instance owns now; no further event is started."""


class LeaseLostError(ProcessingError):
    """An error for an expired replay lease; another redrive may replay the key now."""


class ShutdownError(ProcessingError):
    """An error for a batch that a shutdown interrupts.

    The host writes no checkpoint, and another instance runs the unfinished events.
    """


class OutOfTimeError(ShutdownError):
    """An error for a batch that is not finished when its invocation has used up its time.

    As at a shutdown, running calls end, no event starts, and the host writes no checkpoint. The
    batch runs again for its unfinished events.
    """


class MalformedBatchError(ProcessingError):
    """An error for metadata that does not match its events; the cause is a wrong binding."""


class FormatError(ProcessingError):
    """An error for data that a newer version of the app wrote; this instance must be updated."""


class HandlerLoadError(ProcessingError):
    """An error for an EVENT_HANDLER whose call with an event would fail or do nothing."""


class HandlerStartError(HandlerLoadError):
    """An error for a handler whose `from_settings` or `start` failed.

    No event starts, and the batch runs again, with a new handler.
    """


class SiteError(ProcessingError):
    """An error of a call to the function app's management; the message says what to do.

    Args:
        message: what was wrong and what to do.
        detail: the answer in short, such as "HTTP 409" or "no answer".
        answered: whether the call was answered; without an answer it may have been carried out.
    """

    def __init__(self, message: str, *, detail: str, answered: bool = True) -> None:
        super().__init__(message)
        self.detail = detail
        self.answered = answered


class SettingsError(ProcessingError, ConfigurationError):
    """An error for a setting that is missing, unknown or out of bounds."""


class MissingSettingError(SettingsError):
    """An error for a required setting that is missing or incomplete."""
