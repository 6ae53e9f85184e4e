"""The operator console as a child process; only its command line is used, not its modules."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from local.services.event_hubs import CONSOLE_GROUP
from local.services.health import Probe
from local.services.service import Service

CALLBACK_HOSTS = "127.0.0.1,localhost"
LEASE_SECONDS = "10"  # the local functions host's own default


def console_service(
    port: int, *, token: str, app_settings: Mapping[str, str], app: Path | None = None
) -> Service:
    """Return the console service, which reads the same settings as the function app.

    Args:
        port: port of the page.
        token: the password of the page.
        app_settings: the settings of the function app.
        app: the folder of the app, whose handler a redrive calls; None: the repository.
    """
    folder = () if app is None else ("--app", str(app))
    return Service(
        name="console",
        command=(sys.executable, "-m", "console", "--port", str(port), *folder),
        ports={"console": port},
        probes=(Probe("http", port),),
        environment={
            **app_settings,
            "CONSOLE_TOKEN": token,
            "CONSOLE_CALLBACK_HOSTS": CALLBACK_HOSTS,
            "CONSOLE_CONSUMER_GROUP": CONSOLE_GROUP,
            "CONSOLE_LEASE_SECONDS": LEASE_SECONDS,
        },
        after=("redis",),
    )
