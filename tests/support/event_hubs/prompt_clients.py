"""The stock client with shorter sleeps, because these tests create hundreds of clients.

The endpoint runs in the same process and answers within milliseconds.
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

POLL_SECONDS = 0.002
_DELAYS = {0.05: POLL_SECONDS, 1: 0.02}
"""The SDK's fixed delays and their replacements, in seconds.

The SDK polls every 50 ms for input, and every second for a closed client.
"""

PROMPT: dict[str, Any] = {
    "retry_total": 0,
    "retry_backoff_factor": 0.001,  # the SDK also backs off after the last attempt
    "ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # avoids loading all root certificates
}
"""The settings of a client that raises errors at once, for an endpoint without TLS."""
PROMPT_RECEIVER: dict[str, Any] = {
    "socket_timeout": 0.05,  # closing waits for the current read
    "load_balancing_interval": 1,  # the balancing thread sleeps once more after the close
}
"""Further settings of a receiving client."""


shorten_sleeps(
    _DELAYS,
    blocking=[_client_base, _pyamqp_client],
    asynchronous=[
        _client_base_async,
        _client_async,
        _event_processor_async,
        _pyamqp_transport_async,
    ],
)


def _calm_uamqp() -> None:
    """Make the uamqp transport sleep while it waits, because its busy loop blocks other threads."""
    connection = import_module("uamqp.connection").Connection
    work = connection.work

    def work_and_sleep(self: Any) -> None:
        work(self)
        time.sleep(POLL_SECONDS / 4)

    connection.work = work_and_sleep


if find_spec("uamqp") is not None:
    shorten_sleeps(_DELAYS, blocking=[import_module("uamqp.client")], asynchronous=[])
    _calm_uamqp()
