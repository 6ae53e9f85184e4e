"""`breakpoint()` in a handler: refused where no debugger can answer.

A host has no terminal, so the debugger would end at once with an error, which would poison each
event. The refusal keeps the event, and health names the handler.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from processing.errors import FaultyHandlerError
from processing.handlers.raised import in_invocation

REFUSAL = (
    "the handler called breakpoint(), which works only in a debug host: run `breakwater host "
    "--app DIR --debug`, or remove the call"
)


def refuse_breakpoints() -> None:
    """Refuse `breakpoint()` in handlers from now on.

    A debugger that has attached to the process has a hook of its own, which is kept. The call does
    nothing with PYTHONBREAKPOINT=0. Code outside of handlers, such as another function of the app,
    is not concerned.
    """
    if sys.breakpointhook is sys.__breakpointhook__:
        sys.breakpointhook = _refuse_in_handlers


def allow_breakpoints() -> None:
    """Undo `refuse_breakpoints`."""
    if sys.breakpointhook is _refuse_in_handlers:
        sys.breakpointhook = sys.__breakpointhook__


def _refuse_in_handlers(*args: Any, **options: Any) -> Any:
    if in_invocation() and os.environ.get("PYTHONBREAKPOINT") != "0":
        raise FaultyHandlerError(REFUSAL)
    return sys.__breakpointhook__(*args, **options)
