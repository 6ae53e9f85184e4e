"""A user's own app, with only the two wheels: from an empty directory to an approved circuit.

Nothing comes from the network: pip takes its packages from the folder that `make setup` fills, and
npm from its cache.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from loadtest.target.hosts import host_instances
from loadtest.target.stack import processes_naming
from local.services.child import REPOSITORY
from tests.support.processes import wait_for
from tests.support.wheels import STORE, build_wheels, outside, run

EXAMPLE = REPOSITORY / "docs" / "examples" / "orders_app"
MOST_LINES = 60
KEYS = 10
PATIENCE = 120.0

SEND = """
import json, sys
from azure.eventhub import EventData, EventHubProducerClient
values = json.load(open("local.settings.json"))["Values"]
hub = EventHubProducerClient.from_connection_string(
    values["EventHubConnection"], eventhub_name=values["EVENT_HUB_NAME"]
)
with hub:
    for n in range(int(sys.argv[1]), int(sys.argv[2])):
        body = json.dumps({"id": f"o-{n}", "cents": 100})
        hub.send_batch([EventData(body)], partition_key=f"customer-{n % 10}")
"""


class Bank(ThreadingHTTPServer):
    """The service that the app calls: it records payments, or answers 503 while it is down."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Payment)
        self.is_down = False
        self.orders: list[str] = []
        self.ids: set[str] = set()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """The address for BANK_URL."""
        return f"http://127.0.0.1:{self.server_port}/pay"

    def pay(self, key: str, order: str) -> bool:
        """Record a payment unless it is a repetition; return whether the bank is up."""
        with self.lock:
            if not self.is_down and key not in self.ids:
                self.ids.add(key)
                self.orders.append(order)
            return not self.is_down


class _Payment(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Bank

    def do_POST(self) -> None:
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        paid = self.server.pay(self.headers["Idempotency-Key"], order["id"])
        self.send_response(200 if paid else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def running_bank() -> Iterator[Bank]:
    with Bank() as bank:
        thread = threading.Thread(target=bank.serve_forever)
        thread.start()
        try:
            yield bank
        finally:
            bank.shutdown()
            thread.join()


class Project:
    """A directory with a user's app, and the environment into which its wheels are installed."""

    def __init__(self, root: Path) -> None:
        self.app = root / "app"
        self.bin = root / "venv" / "bin"
        self.environment = outside(
            PATH=f"{self.bin}:{os.environ['PATH']}",
            BREAKWATER_CACHE=root / "cache",
            PIP_NO_INDEX="1",
            PIP_FIND_LINKS=f"{STORE} {root / 'wheels'}",
            npm_config_offline="true",
        )
        shutil.copytree(EXAMPLE, self.app)
        build_wheels(root / "wheels")
        run(sys.executable, "-m", "venv", "--without-pip", root / "venv")
        run(
            *(sys.executable, "-m", "pip", "--python", str(self.bin / "python"), "install"),
            *("--quiet", "--disable-pip-version-check", "--find-links", str(STORE)),
            *("breakwater[local,pydantic]", "pytest"),
            environment=self.environment,
        )

    def command(self, *arguments: str | Path, code: int = 0) -> str:
        """Run a program of the environment in the app's directory; return its output."""
        program, *others = arguments
        ended = run(
            self.bin / program, *others, cwd=self.app, environment=self.environment, code=code
        )
        return ended.stdout

    def check_types(self, folder: Path) -> None:
        """Check a user's code with mypy --strict against the installed wheels."""
        run(
            *(sys.executable, "-m", "mypy", "--strict"),
            *("--python-executable", str(self.bin / "python")),
            *("--cache-dir", str(self.app.parent / "mypy")),
            *sorted(folder.glob("*.py")),
            cwd=folder,
            environment=outside(),
        )

    def circuit(self) -> dict[str, Any]:
        """Return the circuit as `breakwater status --json` prints it."""
        text = self.command("breakwater", "status", "--json", "--settings", "local.settings.json")
        found: dict[str, Any] = json.loads(text)
        return found

    def send(self, first: int, end: int) -> None:
        """Send orders, each customer's in the order of the numbers."""
        self.command("python", "-c", SEND, str(first), str(end))

    @contextlib.contextmanager
    def running_stack(self, *settings: str) -> Iterator[None]:
        """Run the local stack; no process of it is left at the end."""
        options = [option for each in settings for option in ("--set", each)]
        try:
            self.command("breakwater", "up", "--ephemeral-ports", *options)
            yield
        finally:
            self.command("breakwater", "down")
            assert not processes_naming(self.app)

    @contextlib.contextmanager
    def running_host(self) -> Iterator[None]:
        """Run two instances of the app, as `breakwater host` does in a terminal."""
        log = self.app / "host.log"
        with (
            log.open("wb") as output,
            subprocess.Popen(
                [self.bin / "breakwater", "host", "--port", "0", "--instances", "2"],
                cwd=self.app,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            ) as process,
        ):
            try:
                wait_for(
                    lambda: len(self.instances()) == 2,
                    lambda: f"the start of two instances:\n{log.read_text()}",
                    PATIENCE,
                )
                yield
            finally:
                before = len(log.read_text())
                process.send_signal(signal.SIGINT)
                code = process.wait(30)
        assert code in {0, 130}, log.read_text()
        assert "Traceback" not in log.read_text()[before:]

    def instances(self) -> list[int]:
        """Return the process ids of the running instances."""
        return [each.pid for each in host_instances(self.app / ".local")]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_app_with_only_the_wheels_survives_a_kill_and_an_outage(tmp_path: Path) -> None:
    lines = [line for file in EXAMPLE.glob("*.py") for line in file.read_text().splitlines()]
    assert len(lines) < MOST_LINES
    project = Project(tmp_path)
    assert "2 passed" in project.command("python", "-m", "pytest")
    project.check_types(project.app)
    shutil.copytree(EXAMPLE.parent, tmp_path / "examples", ignore=_only_files)
    project.check_types(tmp_path / "examples")
    settings = ("EVENT_HANDLER=orders:Payments", "BREAKER_FAILURE_THRESHOLD=5")
    with (
        running_bank() as bank,
        project.running_stack(*settings, f"BANK_URL={bank.url}"),
        project.running_host(),
    ):
        project.send(0, 50)
        os.kill(project.instances()[0], signal.SIGKILL)
        project.send(50, 100)
        _wait_for_orders(bank, 100)

        bank.is_down = True
        project.send(100, 150)
        wait_for(
            lambda: project.circuit()["state"] == "open", lambda: str(project.circuit()), PATIENCE
        )
        bank.is_down = False
        project.send(150, 200)
        assert len(bank.orders) == 100
        generation = str(project.circuit()["generation"])
        project.command(
            *("breakwater", "approve", "--settings", "local.settings.json"),
            *("--generation", generation),
        )
        _wait_for_orders(bank, 200)
        wait_for(
            lambda: project.circuit()["state"] == "closed", lambda: str(project.circuit()), PATIENCE
        )
    for customer in range(KEYS):
        paid = [int(order[2:]) for order in bank.orders if int(order[2:]) % KEYS == customer]
        assert paid == sorted(paid), f"the orders of customer {customer} are not in order"


def _only_files(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(folder, name).is_dir()]


def _wait_for_orders(bank: Bank, count: int) -> None:
    wait_for(
        lambda: len(bank.orders) >= count,
        lambda: f"{count} payments, but there are {len(bank.orders)}",
        PATIENCE,
    )
