"""The stock client without its waiting: what it does with an endpoint in the same process is done
in milliseconds, and there are hundreds of clients in these tests.
"""

from __future__ import annotations

import ssl
import time
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from azure.eventhub import _client_base
from azure.eventhub._pyamqp import client as _pyamqp_client
from azure.eventhub._pyamqp.aio import _client_async
from azure.eventhub.aio import _client_base_async
from azure.eventhub.aio._eventprocessor import event_processor as _event_processor_async
from azure.eventhub.aio._transport import _pyamqp_transport_async

from tests.support.event_hubs.fast_polling import shorten_sleeps

NAP_SECONDS = 0.002
_NAPS = {0.05: NAP_SECONDS, 1: 0.02}
"""For each of the SDK's fixed sleeps, by its length: what is slept instead. It looks every 50 ms
whether something has come, and every second whether its client has been closed."""

PROMPT: dict[str, Any] = {
    "retry_total": 0,
    "retry_backoff_factor": 0.001,  # it waits before it gives up, too
    "ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # else it reads every root there is
}
"""Settings of a client that reports an error at once, of an endpoint without TLS."""
PROMPT_RECEIVER: dict[str, Any] = {
    "socket_timeout": 0.05,  # closing waits for the read that is under way
    "load_balancing_interval": 1,  # the thread that does it sleeps once more when all is closed
}
"""Further settings of a client that receives."""


shorten_sleeps(
    _NAPS,
    blocking=[_client_base, _pyamqp_client],
    asynchronous=[
        _client_base_async,
        _client_async,
        _event_processor_async,
        _pyamqp_transport_async,
    ],
)


def _calm_uamqp() -> None:
    """Let the older transport nap while it waits: its spinning keeps the interpreter busy."""
    connection = import_module("uamqp.connection").Connection
    work = connection.work

    def work_and_nap(self: Any) -> None:
        work(self)
        time.sleep(NAP_SECONDS / 4)

    connection.work = work_and_nap


if find_spec("uamqp") is not None:
    shorten_sleeps(_NAPS, blocking=[import_module("uamqp.client")], asynchronous=[])
    _calm_uamqp()
