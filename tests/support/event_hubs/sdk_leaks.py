"""Sockets that Microsoft's Event Hubs SDK leaves open.

If the SDK is cancelled or closed while a connection opens, the SDK loses the socket. The garbage
collector closes the socket later.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def sdk_leaks_collected() -> Iterator[None]:
    """Collect leaked sockets at the end of the block, without a ResourceWarning.

    Otherwise the warning would fail the test in which the garbage collector happens to run. Only
    objects of the block are scanned, because a scan of all objects of a test process is slow.
    """
    gc.freeze()
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
        gc.unfreeze()
