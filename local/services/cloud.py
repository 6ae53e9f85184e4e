"""Event Grid, management and workflow (local/stack/cloud.py) as one child process."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from local.services.health import Probe
from local.services.service import Service

TOPIC = "breakwater"
SITE_PATH = "/subscriptions/local/resourceGroups/local/providers/Microsoft.Web/sites/breakwater"
"""The function app's resource id in the management endpoint."""


def cloud_service(
    port: int,
    state_dir: Path,
    *,
    topic_key: str,
    console_url: str,
    console_token: str,
    arguments: Sequence[str] = (),
) -> Service:
    """Return one service for all three; `arguments` are added to `python -m local.stack.cloud`."""
    command = (sys.executable, "-m", "local.stack.cloud", "--port", str(port))
    return Service(
        name="cloud",
        command=(*command, "--state-dir", str(state_dir), *arguments),
        ports={"cloud": port},
        probes=(Probe("http", port),),
        environment={
            "EVENT_GRID_TOPIC_KEY": topic_key,
            "CONSOLE_URL": console_url,
            "CONSOLE_TOKEN": console_token,
        },
    )
