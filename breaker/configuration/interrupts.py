"""A quiet end by Ctrl-C while a program still imports its modules.

The command lines catch Ctrl-C themselves, but their imports take up to a second. A `__main__`
module imports this module first. Its import changes how the process ends, so no other module
imports it.
"""

import sys
from types import TracebackType

_report = sys.excepthook


def _report_all_but_interrupts(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Report an error that ends the process, unless Ctrl-C is the reason."""
    if not issubclass(kind, KeyboardInterrupt):
        _report(kind, error, trace)


sys.excepthook = _report_all_but_interrupts
