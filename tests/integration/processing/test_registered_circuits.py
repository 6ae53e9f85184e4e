"""The app registers its circuits with its settings; tools read them and register nothing."""

from __future__ import annotations

from contextlib import AsyncExitStack

from breaker import BreakerSettings, Recovery
from breaker.cli.circuits import opened
from processing.circuit_wiring import CircuitWiring, instance_name
from processing.parts import Parts

UNUSED = {
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "EventHubConnection": "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=n;SharedAccessKey=k",
    "EVENT_HUB_NAME": "events",
}
"""Settings that an app needs, of services that the test does not use."""


async def test_tools_use_the_settings_of_the_app(redis_url: str) -> None:
    """The tools have other settings; the wiring is that of the console and of a redrive."""
    app = UNUSED | {
        "REDIS_URL": redis_url,
        "BREAKER_FAILURE_THRESHOLD": "7",
        "DEPENDENCY_BANK_FAILURE_THRESHOLD": "3",
    }
    tool = {"REDIS_URL": redis_url, "BREAKER_RECOVERY": "automatic"}
    parts = await Parts.build(app)
    try:
        await parts.dependencies.use("bank")
        await parts.dependencies.refresh()
        async with AsyncExitStack() as closing:
            wiring = CircuitWiring(tool, closing, breaking=BreakerSettings(failure_threshold=9))
            await wiring.breaker()
            await wiring.dependencies()
        async with opened(tool) as circuits:
            bank = await circuits.named("bank")
            assert circuits.app.settings.failure_threshold == 7
            assert circuits.app.settings.recovery is Recovery.MANUAL
            assert bank.settings.failure_threshold == 3
            for circuit in (circuits.app, bank):
                found = await circuit.registration()
                assert found is not None
                assert [each.name for each in found.alive] == [instance_name()]
                assert not found.differences
    finally:
        await parts.closing.aclose()
