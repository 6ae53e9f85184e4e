"""Microsoft's Event Hubs SDK, looking sooner whether a link is open: import it for that.

The SDK looks every 50 ms, a dozen times for each link, and before it sends or receives it opens
two. Only its naps are shortened, and only while it opens something: receiving waits as it does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from azure.eventhub import _client_base
from azure.eventhub._pyamqp import client
from azure.eventhub._pyamqp.aio import _client_async
from azure.eventhub.aio import _client_base_async


class _ShorterSleeps:
    """A module whose `sleep` turns some naps into shorter ones."""

    def __init__(self, module: ModuleType, naps: Mapping[float, float]) -> None:
        self._module = module
        self._naps = naps

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def sleep(self, delay: float, **options: Any) -> Any:
        return self._module.sleep(self._naps.get(delay, delay), **options)


def shorten_sleeps(
    naps: Mapping[float, float], *, blocking: list[ModuleType], asynchronous: list[ModuleType]
) -> None:
    """Shorten fixed sleeps of modules.

    Args:
        naps: seconds slept, and seconds to sleep instead.
        blocking: modules that call `time.sleep`.
        asynchronous: modules that call `asyncio.sleep`.
    """
    for module in blocking:
        vars(module)["time"] = _ShorterSleeps(time, naps)
    for module in asynchronous:
        vars(module)["asyncio"] = _ShorterSleeps(asyncio, naps)


shorten_sleeps(
    {0.05: 0.004},
    blocking=[_client_base, client],
    asynchronous=[_client_base_async, _client_async],
)
