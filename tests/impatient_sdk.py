"""Microsoft's Event Hubs SDK, looking sooner whether a link is open: import it for that.

The SDK looks every 50 ms, a dozen times for each link, and before it sends or receives it opens
two. Only its naps are shortened, and only while it opens something: receiving waits as it does.
"""

from __future__ import annotations

import asyncio
import time
from types import ModuleType
from typing import Any

from azure.eventhub import _client_base
from azure.eventhub._pyamqp import client
from azure.eventhub._pyamqp.aio import _client_async
from azure.eventhub.aio import _client_base_async

_NAP_SECONDS = 0.004
_SDKS_SECONDS = 0.05


class _Impatient:
    """A module whose `sleep` turns the SDK's naps into shorter ones."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def sleep(self, delay: float, **options: Any) -> Any:
        return self._module.sleep(_NAP_SECONDS if delay == _SDKS_SECONDS else delay, **options)


for _module in (_client_base, client):
    _module.time = _Impatient(time)  # type: ignore[attr-defined]
for _module in (_client_base_async, _client_async):
    _module.asyncio = _Impatient(asyncio)  # type: ignore[attr-defined]
