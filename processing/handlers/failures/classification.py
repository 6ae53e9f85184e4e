"""The classification of errors: what an error of a handler means for the event."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Set
from dataclasses import replace
from typing import Any

from breaker import CircuitOpenError, StoreUnavailableError
from processing.errors import (
    DependencyRefusedError,
    DependencyUnavailableError,
    FaultyHandlerError,
    PoisonEventError,
    StorageUnavailableError,
    UndecodableEventError,
)
from processing.handlers.failures.causes import attribute, causes, class_names
from processing.handlers.failures.http_answers import answer_of
from processing.handlers.failures.kind import FailureKind, Verdict
from processing.handlers.failures.known_errors import (
    DEPENDENCY_ERRORS,
    GRPC_KINDS,
    REQUEST_ERRORS,
    THROTTLING_ERRORS,
    WEBSOCKET_REFUSALS,
)
from processing.handlers.failures.named import dependency_behind, dependency_of
from processing.handlers.failures.retry_after import seconds_of
from processing.handlers.failures.store_answers import is_unavailable

logger = logging.getLogger(__name__)

_MOST_DEEP = 50
_STRONGEST_FIRST = (
    FailureKind.POISON,
    FailureKind.FAULTY,
    FailureKind.DEPENDENCY,
    FailureKind.THROTTLED,
    FailureKind.REFUSED,
    FailureKind.EXHAUSTED,
)
# A MemoryError does not show whose memory was used up: another event's, or this event's. In the app
# it ends the process (`processing.crashes.memory_errors`); in a redrive the event is kept.
_ENDED_DEBUGGER = "bdb.BdbQuit"
"""A debugger without a terminal, or one that was left; nothing is wrong with the event."""
_OURS = (StorageUnavailableError, StoreUnavailableError, MemoryError)


class Classifier:
    """The rules that say what an error means.

    Args:
        dependency_errors: dotted names of further exceptions that mean a dependency is down.
        poison_errors: dotted names of exceptions that mean the event can never succeed.
        clock: returns the time in seconds since 1970.
    """

    def __init__(
        self,
        *,
        dependency_errors: Iterable[str] = (),
        poison_errors: Iterable[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._dependency_errors = frozenset(dependency_errors)
        self._poison_errors = frozenset(poison_errors)
        self._clock = clock
        self._reported: set[type] = set()

    def judge(self, error: BaseException) -> Verdict:
        """Return what an error means.

        The error itself decides first, then its causes, the nearest first. An error that was only
        being handled when another error was raised can show that a dependency is down, but not that
        the event is poison. In an exception group the strongest verdict counts: poison, then an
        outage, which may have caused the other errors.
        """
        try:
            found = self._search(error, set(), depth=0, named=True)
        except BaseException:  # the error's class or attributes cannot be read
            found = None
        return found or Verdict(FailureKind.EXHAUSTED)

    def _search(
        self, error: BaseException, seen: set[int], *, depth: int, named: bool
    ) -> Verdict | None:
        """Return the verdict of an error or of its nearest cause that has one.

        A verdict names the dependency of the error that decided, of the errors behind that error,
        or of an error that the handler raised because of that error, in this order.

        Args:
            error: the error.
            seen: the ids of the errors that were judged before; causes may form a cycle.
            depth: number of steps from the first error.
            named: whether each error on the way names the next one as its cause.
        """
        if depth > _MOST_DEEP or id(error) in seen:
            return None
        seen.add(id(error))
        verdict = self._decide(error, seen, depth=depth, named=named)
        if verdict is None or verdict.dependency or not verdict.kind.names_dependency:
            return verdict
        return replace(verdict, dependency=dependency_of(error))

    def _decide(
        self, error: BaseException, seen: set[int], *, depth: int, named: bool
    ) -> Verdict | None:
        verdict = self._judge_alone(error)
        if verdict is not None and verdict.kind.names_dependency:
            verdict = replace(verdict, dependency=dependency_behind(error))
        if verdict is not None and verdict.kind is FailureKind.POISON and not named:
            return Verdict(FailureKind.EXHAUSTED)
        wrapper = isinstance(error, DependencyUnavailableError) and verdict is not None
        if verdict is not None and not (wrapper and verdict.retry_after is None):
            return verdict
        behind = None
        if isinstance(error, BaseExceptionGroup):
            members = [
                self._search(each, seen, depth=depth + 1, named=named) for each in error.exceptions
            ]
            behind = _strongest([each for each in members if each is not None])
        for each, is_named in causes(error):
            behind = behind or self._search(each, seen, depth=depth + 1, named=named and is_named)
        if verdict is None or (behind and behind.kind is FailureKind.REFUSED):
            return behind  # an error about a refusal says no more than the refusal
        return replace(verdict, retry_after=behind.retry_after) if behind else verdict

    def _judge_alone(self, error: BaseException) -> Verdict | None:
        """Return the verdict that an error's class and attributes give, without its causes."""
        if isinstance(error, PoisonEventError | UndecodableEventError):
            return Verdict(FailureKind.POISON)
        if isinstance(error, FaultyHandlerError):
            return Verdict(FailureKind.FAULTY)
        if isinstance(error, DependencyRefusedError):
            return self._kept(FailureKind.REFUSED, error.retry_after)
        if isinstance(error, DependencyUnavailableError):
            return self._kept(FailureKind.DEPENDENCY, error.retry_after)
        if isinstance(error, CircuitOpenError):
            return self._kept(FailureKind.REFUSED, error.retry_after)
        if isinstance(error, _OURS):
            return Verdict(FailureKind.DEPENDENCY)
        names = class_names(error)
        if _ENDED_DEBUGGER in names:
            return Verdict(FailureKind.FAULTY)
        if _is_one_of(error, names, self._poison_errors):
            return Verdict(FailureKind.POISON)
        if _is_one_of(error, names, self._dependency_errors):
            return Verdict(FailureKind.DEPENDENCY)
        if (answer := answer_of(error, names)) is not None:
            # An answer ends the search, because the server works.
            if answer.kind.keeps:
                return self._kept(answer.kind, answer.retry_after)
            return Verdict(answer.kind)
        return _judge_by_name(error, names)

    def _kept(self, kind: FailureKind, retry_after: object) -> Verdict:
        if retry_after is None:
            return Verdict(kind)
        try:
            return Verdict(kind, seconds_of(retry_after, self._clock()))
        except ValueError:
            if type(retry_after) not in self._reported:
                self._reported.add(type(retry_after))
                logger.warning(
                    "A retry_after of type %s is ignored, and the usual pause applies; a "
                    "retry_after takes a number of seconds, an HTTP date or a timedelta",
                    type(retry_after).__name__,
                )
            return Verdict(kind)


def _judge_by_name(error: BaseException, names: Set[str]) -> Verdict | None:
    if names & REQUEST_ERRORS or _closed_for_a_message(error, names):
        return None
    if names & THROTTLING_ERRORS:
        return Verdict(FailureKind.THROTTLED)
    if names & DEPENDENCY_ERRORS or is_unavailable(error, names):
        return Verdict(FailureKind.DEPENDENCY)
    if "grpc.RpcError" in names:
        kind = GRPC_KINDS.get(_grpc_status(error))
        return None if kind is None else Verdict(kind)
    return None


def _closed_for_a_message(error: BaseException, names: Set[str]) -> bool:
    """Return whether a server closed a WebSocket because of the message that it received."""
    if "websockets.exceptions.ConnectionClosed" not in names:
        return False
    return attribute(attribute(error, "rcvd"), "code") in WEBSOCKET_REFUSALS


def _grpc_status(error: Any) -> str:
    """Return the name of a status of gRPC, or ""."""
    try:
        return str(error.code().name)
    except Exception:
        return ""


def _strongest(verdicts: list[Verdict]) -> Verdict | None:
    """Return the strongest verdict, with the longest pause that any of them names."""
    if not verdicts:
        return None
    strongest = min(verdicts, key=lambda each: _STRONGEST_FIRST.index(each.kind))
    pauses = [each.retry_after for each in verdicts if each.retry_after is not None]
    pause = max(pauses, default=None) if strongest.kind.keeps else None
    return replace(strongest, retry_after=pause)


def _is_one_of(error: BaseException, names: Set[str], configured: Set[str]) -> bool:
    """Return whether an error is of a class that a setting names.

    A setting may name the class where it is defined, or where its package offers it:
    `pydantic.ValidationError` is defined in `pydantic_core`.
    """
    return not names.isdisjoint(configured) or any(
        isinstance(kind := _found(name), type) and isinstance(error, kind) for name in configured
    )


def _found(name: str) -> object:
    """Return the object of this name, or None if its module is not imported."""
    module, _, attribute_name = name.rpartition(".")
    return attribute(sys.modules.get(module), attribute_name)
