"""Azurite: Blob, Queue and Table storage, from npm."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

from breaker.configuration import npm
from local.services.health import Probe
from local.services.ports import LOOPBACK
from local.services.service import Service

ACCOUNT = "devstoreaccount1"
APP_ACCOUNT = "breakwater"
"""An account that the app can use as `BreakwaterStorage`, apart from the host's account."""
# Azurite's documented key is not a secret: it is the same on every machine.
ACCOUNT_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

_PRELOAD = Path(__file__).with_name("azurite_preload.cjs")
_NAMES = ("blob", "queue", "table")


def azurite_command(ports: Mapping[str, int], directory: Path) -> tuple[str, ...]:
    """Return the program and its arguments; `ports` has the keys "blob", "queue" and "table".

    Raises:
        FileNotFoundError: Node.js or Azurite is not installed.
    """
    node = shutil.which("node")
    if node is None:
        raise FileNotFoundError(
            "no Node.js on PATH; Azurite (local storage) needs it: install Node.js"
        )
    program = npm.package_folder(npm.AZURITE) / "dist" / "src" / "azurite.js"
    if not program.is_file():
        raise FileNotFoundError(f"Azurite is not installed; {npm.how_to_install()}")
    arguments = [node, "--require", str(_PRELOAD), str(program), "--location", str(directory)]
    for name in _NAMES:
        arguments += [f"--{name}Host", LOOPBACK, f"--{name}Port", str(ports[name])]
    return (*arguments, "--silent", "--disableTelemetry", "--skipApiVersionCheck")


def azurite_service(ports: Mapping[str, int], directory: Path) -> Service:
    """Return the Azurite service, which keeps its data in `directory`."""
    return Service(
        name="azurite",
        command=azurite_command(ports, directory),
        ports={name: ports[name] for name in _NAMES},
        environment={
            "AZURITE_ACCOUNTS": ";".join(f"{name}:{ACCOUNT_KEY}" for name in (ACCOUNT, APP_ACCOUNT))
        },
        probes=tuple(Probe("http-any", ports[name], f"/{ACCOUNT}") for name in _NAMES),
        # Azurite writes its tables every five seconds, and when it is asked to stop.
        death_signal=signal.SIGTERM,
    )


def storage_connection_string(ports: Mapping[str, int], account: str = ACCOUNT) -> str:
    """Return the connection string of an account; the default one is `AzureWebJobsStorage`."""
    endpoints = "".join(
        f"{name.capitalize()}Endpoint=http://{LOOPBACK}:{ports[name]}/{account};" for name in _NAMES
    )
    return (
        f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={ACCOUNT_KEY};{endpoints}"
    )
