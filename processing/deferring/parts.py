"""The objects of the instance that replays use, and the names of a deferred key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from breaker import CircuitBreaker, Key
from processing.crashes.loops import CrashLoops
from processing.dependencies.circuits import Circuits
from processing.event import Event
from processing.formats.event_fields import key_hash
from processing.handlers.loading import LoadedHandler
from processing.handlers.raised import describe, type_name
from processing.handlers.retry import RetryPolicy
from processing.identity import Source
from processing.monitoring.telemetry import HandleList, Telemetry
from processing.parking.event import ListKey, Lone
from processing.poison.queue import PoisonQueue
from processing.settings import ProcessingSettings

type Place = tuple[Source, ListKey]
"""A deferred key, or an event without a key that is deferred alone, in its partition."""


class ReplayParts(Protocol):
    """The objects that replays use. `processing.batch.parts.LaneParts` has them."""

    @property
    def handler(self) -> LoadedHandler: ...  # noqa: D102

    @property
    def handle(self) -> Callable[[Event], Awaitable[None]]: ...  # noqa: D102

    @property
    def handle_list(self) -> HandleList: ...  # noqa: D102

    @property
    def retry_list(self) -> RetryPolicy: ...  # noqa: D102

    @property
    def breaker(self) -> CircuitBreaker: ...  # noqa: D102

    @property
    def poison(self) -> PoisonQueue: ...  # noqa: D102

    @property
    def settings(self) -> ProcessingSettings: ...  # noqa: D102

    @property
    def telemetry(self) -> Telemetry: ...  # noqa: D102

    @property
    def crashes(self) -> CrashLoops | None: ...  # noqa: D102

    @property
    def instance(self) -> str: ...  # noqa: D102

    @property
    def dependencies(self) -> Circuits | None: ...  # noqa: D102


def circuit_key(source: Source, key: ListKey) -> Key:
    """Return the key by which the circuit knows a list; without a key, the partition's."""
    return Key(key) if isinstance(key, str) else Key(source.partition, several=True)


def list_name(place: Place) -> str:
    """Return the name of a list in a log line, which does not reveal the key."""
    source, key = place
    if isinstance(key, Lone):
        return f"partition {source}, event {key.position}"
    return f"partition {source}, key {key_hash(key) or '(none)'}"


def error_text(error: Exception) -> str:
    """Return the text of an error: its type and message."""
    return f"{type_name(error)}: {describe(error)}"
