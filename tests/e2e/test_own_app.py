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
MOST_LINES = 80
KEYS = 10
PATIENCE = 120.0

SEND = """
import json, sys
from azure.eventhub import EventData, EventHubProducerClient
values = json.load(open("local.settings.json"))["Values"]
hub = EventHubProducerClient.from_connection_string(
    values["EventHubConnection"], eventhub_name=values[sys.argv[1]]
)
with hub:
    for n in range(int(sys.argv[2]), int(sys.argv[3])):
        event = EventData(json.dumps({"id": f"o-{n}", "cents": 100}))
        event.properties = {"type": "order.created"}
        hub.send_batch([event], partition_key=f"customer-{n % 10}")
"""


HUBS = {"orders": "EVENT_HUB_NAME", "audit": "PIPELINE_AUDIT_EVENT_HUB_NAME"}
SETTINGS = (
    "PIPELINES=orders,audit",
    "PIPELINE_AUDIT_EVENT_HUB_NAME=audit",
    "PIPELINE_ORDERS_EVENT_HANDLER=orders:routes",
    "PIPELINE_AUDIT_EVENT_HANDLER=orders:Journal",
    "BREAKER_FAILURE_THRESHOLD=5",
)


class Bank(ThreadingHTTPServer):
    """The services that the app calls: a bank, which answers 503 while it is down, and a journal.

    Attributes:
        orders: the paid orders.
        journal: the orders in the journal.
        longest: the greatest number of lines that one call has added to the journal.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Payment)
        self.is_down = False
        self.orders: list[str] = []
        self.journal: list[str] = []
        self.longest = 0
        self.ids: set[str] = set()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """The address of both services."""
        return f"http://127.0.0.1:{self.server_port}"

    def pay(self, key: str, order: str) -> bool:
        """Record a payment unless it is a repetition; return whether the bank is up."""
        with self.lock:
            if not self.is_down and key not in self.ids:
                self.ids.add(key)
                self.orders.append(order)
            return not self.is_down

    def write(self, lines: list[dict[str, Any]]) -> None:
        """Add lines to the journal, each once."""
        with self.lock:
            self.longest = max(self.longest, len(lines))
            for each in lines:
                if each["key"] not in self.ids:
                    self.ids.add(each["key"])
                    self.journal.append(each["line"]["id"])


class _Payment(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Bank

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        done = True
        if self.path == "/pay":
            done = self.server.pay(self.headers["Idempotency-Key"], content["id"])
        else:
            self.server.write(content)
        self.send_response(200 if done else 503)
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

    def circuit(self, pipeline: str) -> dict[str, Any]:
        """Return the circuit of a pipeline as `breakwater status --json` prints it."""
        text = self.command(
            *("breakwater", "status", "--json", "--settings", "local.settings.json"),
            *("--pipeline", pipeline),
        )
        found: dict[str, Any] = json.loads(text)
        return found

    def send(self, pipeline: str, first: int, end: int) -> None:
        """Send orders to the hub of a pipeline, each customer's in the order of the numbers."""
        self.command("python", "-c", SEND, HUBS[pipeline], str(first), str(end))

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
    with (
        running_bank() as bank,
        project.running_stack(
            *SETTINGS, f"BANK_URL={bank.url}/pay", f"JOURNAL_URL={bank.url}/journal"
        ),
        project.running_host(),
    ):
        for pipeline in HUBS:
            project.send(pipeline, 0, 50)
        os.kill(project.instances()[0], signal.SIGKILL)
        for pipeline in HUBS:
            project.send(pipeline, 50, 100)
        _wait_for(bank.orders, 100)
        _wait_for(bank.journal, 100)

        bank.is_down = True
        project.send("orders", 100, 150)
        _wait_for_state(project, "open")
        bank.is_down = False
        project.send("orders", 150, 200)
        project.send("audit", 100, 200)
        _wait_for(bank.journal, 200)  # while the other pipeline holds
        assert len(bank.orders) == 100
        assert len(project.instances()) == 2, "the workflow stops no app for one of two pipelines"
        generation = str(project.circuit("orders")["generation"])
        project.command(
            *("breakwater", "approve", "--settings", "local.settings.json"),
            *("--pipeline", "orders", "--generation", generation),
        )
        _wait_for(bank.orders, 200)
        _wait_for_state(project, "closed")
        assert project.circuit("audit")["generation"] == 0
    assert bank.longest > 1, "one call of the list handler had several events"
    for orders in (bank.orders, bank.journal):
        assert len(orders) == 200
        for customer in range(KEYS):
            own = [int(order[2:]) for order in orders if int(order[2:]) % KEYS == customer]
            assert own == sorted(own), f"the orders of customer {customer} are not in order"


def _only_files(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(folder, name).is_dir()]


def _wait_for(orders: list[str], count: int) -> None:
    wait_for(
        lambda: len(orders) >= count,
        lambda: f"{count} orders, but there are {len(orders)}",
        PATIENCE,
    )


def _wait_for_state(project: Project, state: str) -> None:
    wait_for(
        lambda: project.circuit("orders")["state"] == state,
        lambda: str(project.circuit("orders")),
        PATIENCE,
    )
