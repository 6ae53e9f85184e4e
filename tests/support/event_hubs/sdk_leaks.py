"""What Microsoft's Event Hubs SDK leaves open when a connection or link is taken from it.

It forgets the socket of a connection that it was about to open, when it is cancelled or closed
meanwhile; the garbage collector closes that later.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def sdk_leaks_collected() -> Iterator[None]:
    """Let go of such sockets at once, without a word.

    They would be reported as unclosed in whatever test the garbage collector runs next. Only what
    came meanwhile is looked through: all else in a test process is large and takes long.
    """
    gc.freeze()
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
        gc.unfreeze()
