"""The errors of processing, and the two that a handler may raise on purpose.

ProcessingError
├── PoisonEventError            a handler's verdict: this event can never succeed
├── DependencyUnavailableError  a handler's verdict: not the event's fault, keep it
├── StorageUnavailableError     progress, poison queue or blob did not take a write
├── BodyLostError               the blob that held an event's body is gone
├── OwnershipLostError          another instance owns the partition now
├── LeaseLostError              another redrive may replay the key now
├── ShutdownError               the instance is stopping; the batch is not finished
├── MalformedBatchError         the binding did not hand over what it promises
├── HandlerLoadError            EVENT_HANDLER names nothing that can handle events
└── SettingsError               a setting is missing, unknown or out of bounds
"""

from __future__ import annotations

from breaker.configuration.errors import ConfigurationError


class ProcessingError(Exception):
    """Root of everything that processing raises on purpose."""


class PoisonEventError(ProcessingError):
    """Raise it in a handler for an event that can never succeed: no retry, poison queue."""


class DependencyUnavailableError(ProcessingError):
    """Raise it in a handler when something it depends on is down: the event is kept.

    Args:
        message: what is unavailable.
        retry_after: seconds after which it may be worth another try, if known.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StorageUnavailableError(ProcessingError):
    """Redis, the poison queue or the blob container did not take a write or answer a read."""


class BodyLostError(ProcessingError):
    """The blob that held an event's body is gone, or holds something else: no retry helps."""


class OwnershipLostError(ProcessingError):
    """Another instance owns the partition now; this one starts no further event of it."""


class LeaseLostError(ProcessingError):
    """A key's replay lease ran out: another redrive may replay the key now."""


class ShutdownError(ProcessingError):
    """The instance is stopping: what is unfinished runs again elsewhere, so no checkpoint."""


class MalformedBatchError(ProcessingError):
    """The trigger's metadata does not fit its events: a wrong binding, never an event's body."""


class HandlerLoadError(ProcessingError):
    """EVENT_HANDLER does not name a callable; the message says what was tried."""


class SettingsError(ProcessingError, ConfigurationError):
    """A setting is missing, unknown or out of bounds; the message says what it takes."""
