"""The parts that the app settings name are made as the settings say."""

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


async def test_the_circuits_store_is_waited_for_as_long_as_the_setting_says() -> None:
    """In the app and in redrive, as in the breaker's own command line."""
    async with SilentServer().running() as url, AsyncExitStack() as opened:
        settings = SETTINGS | {"REDIS_URL": url, "BREAKER_STORE_TIMEOUT_SECONDS": "0.05"}
        breaker = await Wiring(settings, opened).breaker()
        with pytest.raises(StoreUnavailableError, match=r"no answer within 0\.05 s"):
            await breaker.history(1)
