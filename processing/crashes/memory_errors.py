"""Errors of memory, which end the process of their handler."""

from __future__ import annotations

import logging
import os

from processing.event import Event
from processing.formats.event_fields import log_fields

logger = logging.getLogger(__name__)

EXIT_CODE = 137
"""Exit code of a process that had no memory left, as of one that the system kills for that."""
_MOST_DEEP = 50


def is_memory_error(error: BaseException) -> bool:
    """Return whether an error says that the process has no memory left.

    An error that a handler raised `from` a `MemoryError`, and a group with one, say so, too.
    """
    return _is_memory_error(error, _MOST_DEEP)


def _is_memory_error(error: BaseException, depth: int) -> bool:
    if isinstance(error, MemoryError):
        return True
    if depth == 0:
        return False
    if isinstance(error, BaseExceptionGroup) and any(
        _is_memory_error(each, depth - 1) for each in error.exceptions
    ):
        return True
    return error.__cause__ is not None and _is_memory_error(error.__cause__, depth - 1)


def end_process(event: Event, error: BaseException) -> None:
    """End this process at once, as the system does with a process that uses too much memory.

    The error does not show whose memory was used up. The rules for crash loops find the event.
    """
    logger.critical(
        "Event %s: its handler had no memory left. This process ends, and its events are "
        "redelivered; if more processes die, careful mode finds the event that needs the memory",
        event.id,
        exc_info=error,
        extra=log_fields(event),
    )
    logging.shutdown()
    os._exit(EXIT_CODE)
