"""Errors of handlers: as ordinary exceptions, and as texts that can always be stored."""

from __future__ import annotations

import asyncio
import contextlib
import opcode
import traceback
from asyncio import CancelledError, Task
from contextvars import ContextVar

from processing.errors import ShutdownError, StorageUnavailableError

LONGEST_TEXT = 2_000
LONGEST_TYPE = 200
_RAISE = opcode.opmap["RAISE_VARARGS"]
_invocation: ContextVar[Task[object] | None] = ContextVar("invocation", default=None)


class NotStartedError(ShutdownError):
    """An error for an event whose handler was not called; no handler raises it."""


class NotRecordedError(StorageUnavailableError):
    """An error for an event whose handler was not called, because a store of the app is away.

    No handler raises it. The batch or the replay runs again, as in each outage of such a store.
    """


def enter_invocation() -> None:
    """Name the current task as the one whose cancellation ends the events in flight.

    Tasks that the current task creates later inherit the name. When one of them is cancelled and
    the named task is not, a handler cancelled its own task.
    """
    _invocation.set(asyncio.current_task())


def in_invocation() -> bool:
    """Return whether the caller runs in an invocation, or in a task or thread of its handlers."""
    return _invocation.get() is not None


def as_exception(error: BaseException) -> Exception:
    """Return a handler's error as an `Exception` that a coroutine can raise.

    A handler may await a cancelled task, cancel its own task, call `sys.exit`, or raise another
    `BaseException`. Each of these is a failure of the event. Otherwise the first two would end the
    lane silently, the third would end the instance, and the last would cancel the other lanes, at
    every redelivery. The cancellation of the invocation, Ctrl-C and the closing of a coroutine are
    raised again, because they are not failures. An error before the call of the handler is raised
    again, too: a shutdown, or an outage of a store of the app.
    """
    if isinstance(error, KeyboardInterrupt | GeneratorExit) and not _is_raised(error):
        raise error
    if isinstance(error, NotStartedError | NotRecordedError):
        raise error
    if is_invocation_cancelled():
        raise error if isinstance(error, CancelledError) else CancelledError() from error
    if isinstance(error, CancelledError):
        _forget_cancellation()
    return as_failure(error)


def as_failure(error: BaseException) -> Exception:
    """Return the error, or an `Exception` about an error that would end more than its event."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration | StopAsyncIteration):
        return error
    failure = RuntimeError(f"the handler ended with {type_name(error)}: {describe(error)}")
    failure.__cause__ = error
    return failure


def is_invocation_cancelled() -> bool:
    """Return whether the current task is cancelled from outside, and not by its handler."""
    task = asyncio.current_task()
    invocation = _invocation.get() or task
    return task is not None and bool(task.cancelling()) and bool(_cancelling(invocation))


async def absorb_own_cancellation() -> None:
    """End a cancellation that a handler requested for its own task before it returned."""
    if not is_invocation_cancelled():
        with contextlib.suppress(CancelledError):
            await asyncio.sleep(0)  # the request takes effect at the next suspension
        _forget_cancellation()


def describe(error: BaseException) -> str:
    """Return the error's text, or a substitute if its `__str__` fails; long texts are cut."""
    try:
        return _storable(str(error)[:LONGEST_TEXT])
    except BaseException as broken:
        return f"(the error's text is not available: its __str__ raised {type_name(broken)})"


def type_name(value: object) -> str:
    """Return the name of the value's type, without its module; a long name is cut."""
    return _type_text(value, "__qualname__")


def dotted_type(error: BaseException) -> str:
    """Return the dotted name of the error's type; the middle of a long name is cut."""
    return _cut(f"{_type_text(error, '__module__')}.{_type_text(error, '__qualname__')}")


def traceback_tail(error: BaseException, limit: int) -> str:
    """Return the end of the error's traceback, or a substitute if the traceback has no text."""
    try:
        return _storable("".join(traceback.format_exception(error))[-limit:])
    except BaseException as broken:
        return f"(the traceback is not available: {type_name(broken)})"


def _is_raised(error: BaseException) -> bool:
    """Return whether a `raise` statement raised the error.

    The interpreter raises KeyboardInterrupt at any instruction when a signal arrives, and
    GeneratorExit at an `await` when a coroutine is closed.
    """
    trace = error.__traceback__
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    frame = trace.tb_frame
    if frame.f_globals.get("__name__") == "asyncio.runners":  # its handler of a second Ctrl-C
        return False
    return trace.tb_lasti >= 0 and frame.f_code.co_code[trace.tb_lasti] == _RAISE


def _forget_cancellation() -> None:
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()


def _cancelling(task: Task[object] | None) -> int:
    return 0 if task is None else task.cancelling()


def _type_text(value: object, attribute: str) -> str:
    # The descriptors of `type`: a metaclass may have a property of that name, which may fail.
    try:
        found = type.__dict__[attribute].__get__(type(value))
    except Exception:
        found = None
    return _cut(_storable(found)) if isinstance(found, str) else "unknown"


def _cut(text: str) -> str:
    if len(text) <= LONGEST_TYPE:
        return text
    return f"{text[: LONGEST_TYPE // 2]}…{text[-LONGEST_TYPE // 2 + 1 :]}"


def _storable(text: str) -> str:
    """Return the text without half surrogates, which have no UTF-8 form."""
    return str.encode(text, "utf-8", "replace").decode()
