"""An event at a breakpoint of its handler: the stack, the app and the terminal are real."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
from azure.eventhub import EventData, EventHubProducerClient

from local.services.child import REPOSITORY
from tests.support.local.functions_host import clean_environment
from tests.support.local.terminal import Terminal, terminal
from tests.support.processes import running_stack

_PROMPT = "(breakwater) "
_FUNCTIONS = """
import azure.functions as func
import breakwater
app = func.FunctionApp()
app.register_functions(breakwater.blueprint())
"""
_HANDLERS = """
def plain(event):
    order = event.text()
    breakpoint()
    print("HANDLED", order, flush=True)

async def coroutine(event):
    order = event.text()
    breakpoint()
    print("HANDLED", order, flush=True)
"""


@pytest.mark.long
@pytest.mark.parametrize("handler", ["plain", "coroutine"])
def test_event_at_a_breakpoint_has_no_time_limit_and_is_kept(tmp_path: Path, handler: str) -> None:
    """The debugger's quit keeps the event, and the next host handles it once."""
    app, state = tmp_path / "app", tmp_path / "state"
    app.mkdir()
    (app / "function_app.py").write_text(_FUNCTIONS)
    (app / "order_handlers.py").write_text(_HANDLERS)
    (app / "host.json").write_text((REPOSITORY / "host.json").read_text())
    settings = (f"EVENT_HANDLER=order_handlers:{handler}", "PROCESSING_HANDLER_TIMEOUT_SECONDS=0.5")
    options = [each for setting in settings for each in ("--set", setting)]
    with running_stack(state, "--no-console", "--partitions", "1", *options) as endpoints:
        producer = EventHubProducerClient.from_connection_string(
            endpoints["event_hub_connection"], eventhub_name="events"
        )
        with producer:
            producer.send_batch([EventData("order 1")], partition_key="a")

        with _host(app, state) as on:
            on.wait_for(_PROMPT)
            on.type("p order")
            on.wait_for("'order 1'")
            on.type("q")
            assert on.wait() == 0
            assert "poison" not in on.output

        with _host(app, state) as on:
            url = on.wait_for("/api/breakwater/health").rpartition(" ")[2]
            on.wait_for(_PROMPT)
            # Longer than the handler's time limit and the lease of the partition.
            on.type("import time; time.sleep(3)")
            on.wait_for(_PROMPT)
            on.type("continue")
            on.wait_for("HANDLED order 1")
            health = httpx.get(f"{url}/api/breakwater/health", timeout=60)
            assert health.status_code == 200, health.text
            on.press_ctrl_c()
            assert on.wait() == 0
            assert on.output.count("HANDLED") == 1
            assert "Blocked loop" not in on.output


def _host(app: Path, state: Path) -> AbstractContextManager[Terminal]:
    command = ("local", "host", "--debug", "--app", app, "--port", "0", "--state-dir", state)
    return terminal(*command, "--lease", "2", environment=clean_environment())
