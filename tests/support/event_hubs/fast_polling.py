"""A shorter poll interval of Microsoft's Event Hubs SDK while a link opens, set on import.

The SDK polls every 50 ms, about twelve times for each link, and opens two links before it sends
or receives. Only the sleeps while a link opens are shortened; the sleeps of receivers are not.
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
    """A module wrapper whose `sleep` replaces some delays by shorter ones."""

    def __init__(self, module: ModuleType, delays: Mapping[float, float]) -> None:
        self._module = module
        self._delays = delays

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def sleep(self, delay: float, **options: Any) -> Any:
        return self._module.sleep(self._delays.get(delay, delay), **options)


def shorten_sleeps(
    delays: Mapping[float, float], *, blocking: list[ModuleType], asynchronous: list[ModuleType]
) -> None:
    """Shorten fixed sleeps of modules.

    Args:
        delays: the original delays and their replacements, in seconds.
        blocking: modules that call `time.sleep`.
        asynchronous: modules that call `asyncio.sleep`.
    """
    for module in blocking:
        vars(module)["time"] = _ShorterSleeps(time, delays)
    for module in asynchronous:
        vars(module)["asyncio"] = _ShorterSleeps(asyncio, delays)


shorten_sleeps(
    {0.05: 0.004},
    blocking=[_client_base, client],
    asynchronous=[_client_base_async, _client_async],
)
