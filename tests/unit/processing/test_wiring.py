"""Parts that the wiring builds from app settings."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from breaker import StoreUnavailableError
from processing.wiring import Wiring
from tests.support.silent_server import SilentServer

SETTINGS = {
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "EventHubConnection": "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=n;SharedAccessKey=k",
    "EVENT_HUB_NAME": "h",
}


async def test_circuit_store_times_out_after_the_configured_seconds() -> None:
    """App, redrive and the breaker's own command line use the same setting."""
    async with SilentServer().running() as url, AsyncExitStack() as opened:
        settings = SETTINGS | {"REDIS_URL": url, "BREAKER_STORE_TIMEOUT_SECONDS": "0.05"}
        breaker = await Wiring(settings, opened).breaker()
        with pytest.raises(StoreUnavailableError, match=r"no answer within 0\.05 s"):
            await breaker.history(1)
