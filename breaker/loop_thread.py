"""An event loop in a thread of its own, for programs without an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any


class LoopThread:
    """A thread that runs an event loop until `close`.

    The thread is a daemon, so a program that forgets `close` still ends. It does not survive a
    fork: start it in the process that uses it.
    """

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def run[Result](self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine on the loop, and return its result or raise its error.

        After Ctrl-C in the calling thread the coroutine is cancelled.
        """
        return wait_for(self.loop, work)

    def close(self) -> None:
        """Cancel what still runs on the loop, and end the thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.get_loop().run_forever()


def wait_for[Result](loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine on the loop of another thread, and wait for its result."""
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise
