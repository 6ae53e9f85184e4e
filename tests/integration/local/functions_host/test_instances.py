"""`python -m local host`: instances that follow the site's state."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from local.files import write_json
from local.services.child import REPOSITORY
from local.services.port_reservation import reserve
from local.services.ports import PortError, ensure_free, free_port
from local.site import SiteState, State
from tests.support.local.functions_host import clean_environment
from tests.support.processes import wait_for, wait_until_gone

_APP = """
import os, signal, sys, threading
from pathlib import Path
import azure.functions as func
broken = Path(os.environ["BROKEN"])
if broken.exists():
    if broken.read_text() == "killed first":
        broken.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    if broken.read_text() == "once":
        broken.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit("ended on request")
app = func.FunctionApp()
@app.route()
def pid(req: func.HttpRequest) -> str:
    # After the host's own line about the call, which would flush this line, too.
    threading.Timer(0.3, print, ["a line of the app"]).start()
    return str(os.getpid())
@app.route()
def greeting(req: func.HttpRequest) -> str:
    return os.environ["GREETING"]
@app.route()
def sdks(req: func.HttpRequest) -> str:
    return " ".join({"azure.eventhub", "azure.storage", "aiohttp"} & set(sys.modules))
"""


@dataclass
class Running:
    """A supervisor with its state directory, where its instances announce themselves."""

    process: subprocess.Popen[bytes]
    state: Path
    broken: Path
    log: Path

    def instances(self) -> dict[int, dict[str, Any]]:
        """Return the announcements of live instances, by index."""
        found: list[dict[str, Any]] = []
        for path in (self.state / "hosts").glob("*.json"):
            with contextlib.suppress(FileNotFoundError):  # the instance has ended since the listing
                found.append(json.loads(path.read_text()))
        return {item["instance"]: item for item in found if psutil.pid_exists(item["pid"])}

    def wait_for_instances(self, count: int) -> dict[int, dict[str, Any]]:
        found: dict[int, dict[str, Any]] = wait_for(
            lambda: len(now := self.instances()) == count and now,
            lambda: f"{count} instances\n{self.log.read_text()}",
        )
        return found


def write_settings(state: Path, **values: str) -> None:
    write_json(state / "local.settings.json", {"IsEncrypted": False, "Values": values})


@contextlib.contextmanager
def supervised(
    directory: Path, *arguments: str, site: State = "Running", stack: str = ""
) -> Iterator[Running]:
    app, state, log = directory / "app", directory / "state", directory / "log"
    app.mkdir()
    (state / "hosts").mkdir(parents=True)
    (app / "function_app.py").write_text(_APP)
    (app / "host.json").write_text('{"version": "2.0"}')
    SiteState(state).write(site)
    broken = directory / "broken"
    connection = "Endpoint=sb://a;SharedAccessKey=old"
    write_settings(state, BROKEN=str(broken), GREETING="hello", EventHubConnection=connection)
    if stack:
        endpoints = {"event_hub_connection": stack, "settings_file": "/its/settings.json"}
        write_json(state / "endpoints.json", endpoints)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "local", "host", "--app", str(app), "--port", "0"),
                *("--state-dir", str(state), "--grace", "2", *arguments),
            ],
            cwd=REPOSITORY,
            env=clean_environment(),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Running(process, state, broken, log)
    finally:
        process.kill()
        process.communicate()


def test_host_follows_the_settings_of_its_stack(tmp_path: Path) -> None:
    """Changed settings start the instances again; another key ends the host with a message."""
    with supervised(tmp_path) as host:
        own = {
            "BROKEN": str(host.broken),
            "EventHubConnection": "Endpoint=sb://a;SharedAccessKey=old",
        }
        [first] = host.wait_for_instances(1).values()
        write_settings(host.state, **own, GREETING="good morning")

        def restarted() -> str:
            with contextlib.suppress(httpx.HTTPError, KeyError):
                now = host.instances()[0]
                if now["pid"] != first["pid"]:
                    return httpx.get(f"http://127.0.0.1:{now['port']}/api/greeting").text
            return ""

        assert wait_for(restarted, host.log.read_text) == "good morning"
        assert "GREETING changed; the instances start again" in host.log.read_text()
        write_settings(host.state, **own | {"EventHubConnection": "Endpoint=sb://b"})
        assert host.process.wait(60) == 1
        assert "EventHubConnection changed in" in host.log.read_text()
        assert "this host ends" in host.log.read_text()
        assert host.instances() == {}


@pytest.mark.parametrize("options", [[], pytest.param(["--debug"], marks=pytest.mark.long)])
def test_host_with_the_key_of_an_earlier_stack_ends(tmp_path: Path, options: list[str]) -> None:
    """The hub of the new stack has the same address, and would refuse the host without end."""
    with supervised(tmp_path, *options, stack="Endpoint=sb://a;SharedAccessKey=new") as host:
        assert host.process.wait(60) == 1
        log = host.log.read_text()
        assert "has other keys than this host: EventHubConnection in" in log
        assert "start the host with the settings in /its/settings.json" in log


def test_two_instances_are_restarted_and_follow_the_site(tmp_path: Path) -> None:
    """Each instance serves the app, a killed one is restarted, and SIGTERM ends everything."""
    with supervised(tmp_path, "--instances", "2", "--lifeline") as pair:
        instances = pair.wait_for_instances(2)
        assert sorted(instances) == [0, 1]
        for item in instances.values():
            answer = httpx.get(f"http://127.0.0.1:{item['port']}/api/pid").text
            assert answer == str(item["pid"])
        wait_for(lambda: "a line of the app" in pair.log.read_text(), "a line that is not flushed")
        # The SDKs are slow to load, and this app needs none of them.
        assert httpx.get(f"http://127.0.0.1:{instances[0]['port']}/api/sdks").text == ""
        assert "[1] [" in pair.log.read_text()  # log lines begin with the instance

        victim = instances[1]["pid"]
        os.kill(victim, signal.SIGKILL)
        wait_for(
            lambda: pair.instances().get(1, {}).get("pid") not in (None, victim),
            "the restart of the instance",
        )
        assert not (pair.state / "hosts" / f"{victim}.json").exists()
        before = {item["pid"] for item in pair.wait_for_instances(2).values()}
        assert before == {instances[0]["pid"], pair.instances()[1]["pid"]}

        site = SiteState(pair.state)
        site.write("Stopped")
        wait_for(lambda: not pair.instances(), "the instances' end")
        assert pair.process.poll() is None
        site.write("Running")
        after = {item["pid"] for item in pair.wait_for_instances(2).values()}
        assert before.isdisjoint(after)

        pair.process.send_signal(signal.SIGTERM)
        assert pair.process.wait(60) == 0
        assert pair.instances() == {}
        assert not list((pair.state / "hosts").iterdir())


def test_changed_app_is_loaded_again(tmp_path: Path) -> None:
    """A version that cannot be loaded waits for the next change."""
    with supervised(tmp_path, "--reload") as running:
        first = running.wait_for_instances(1)[0]["pid"]
        app = tmp_path / "app" / "function_app.py"
        app.write_text("def broken(:\n")
        text = "the instances start again after the next change of the app's files"
        wait_for(lambda: text in running.log.read_text(), running.log.read_text)
        assert running.instances() == {}
        app.write_text(_APP)
        assert running.wait_for_instances(1)[0]["pid"] != first
        assert "function_app.py changed; the instances start again" in running.log.read_text()
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(60) == 0


def test_the_end_of_the_lifeline_ends_everything(tmp_path: Path) -> None:
    with supervised(tmp_path, "--lifeline") as running:
        running.wait_for_instances(1)
        children = psutil.Process(running.process.pid).children()
        assert running.process.stdin is not None
        running.process.stdin.close()
        assert running.process.wait(60) == 0
        assert wait_until_gone(children) == []


def test_a_killed_supervisor_leaves_no_instance_behind(tmp_path: Path) -> None:
    with supervised(tmp_path) as running:
        running.wait_for_instances(1)
        children = psutil.Process(running.process.pid).children()
        assert len(children) == 1
        running.process.kill()
        running.process.wait()
        assert wait_until_gone(children) == []


def test_an_app_that_cannot_start_ends_the_supervisor_with_its_message(tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    with supervised(tmp_path) as running:
        assert running.process.wait(60) == 1
        log = running.log.read_text()
    assert "ended on request" in log
    assert "the host did not start: instance 0 ended with exit code 1" in log
    state = tmp_path / "state"
    assert f"no local stack is up; start one with `breakwater up --state-dir {state}`" in log


def test_an_instance_that_is_killed_during_its_first_start_is_restarted(tmp_path: Path) -> None:
    """Only a load error of the app would recur, so any other end is retried."""
    (tmp_path / "broken").write_text("once")
    with supervised(tmp_path) as running:
        running.wait_for_instances(1)
        log = running.log.read_text()
    assert "instance 0: ended with signal SIGKILL; restart 1" in log


def test_app_that_cannot_start_after_a_restart_ends_the_supervisor(tmp_path: Path) -> None:
    """An instance that never announced itself fails again, so further restarts are in vain."""
    (tmp_path / "broken").write_text("killed first")
    with supervised(tmp_path) as running:
        assert running.process.wait(60) == 1
        log = running.log.read_text()
    assert log.count("; restart ") == 1
    assert "instance 0: ended with exit code 1 before it was ever ready" in log
    assert "gave up after" not in log


@pytest.mark.long
def test_an_instance_that_keeps_ending_is_restarted_until_it_runs(tmp_path: Path) -> None:
    """One event that ends its process must not end the app; the log says what happens."""
    with supervised(tmp_path) as running:
        first = running.wait_for_instances(1)[0]["pid"]
        running.broken.touch()
        os.kill(first, signal.SIGKILL)
        text = "instance 0 does not start: 6 restarts in 60 s; last: ended with exit code 1. "
        wait_for(lambda: text in running.log.read_text(), running.log.read_text)
        assert running.process.poll() is None
        running.broken.unlink()
        running.wait_for_instances(1)
        assert "gave up" not in running.log.read_text()
        for _ in range(6):
            pid = running.wait_for_instances(1)[0]["pid"]
            os.kill(pid, signal.SIGKILL)
            wait_for(
                lambda: running.instances().get(0, {}).get("pid") not in (None, pid),  # noqa: B023
                running.log.read_text,
            )
        assert "instance 0 ends again and again: " in running.log.read_text()


def test_a_stopped_site_has_no_instance(tmp_path: Path) -> None:
    with supervised(tmp_path, site="Stopped") as running:
        wait_for(lambda: "the site is stopped" in running.log.read_text(), "the message")
        assert running.instances() == {}
        SiteState(running.state).write("Running")
        running.wait_for_instances(1)


def test_the_second_instance_takes_the_next_port(tmp_path: Path) -> None:
    port = next(port for port in iter(free_port, 0) if _is_free(port + 1))
    with supervised(tmp_path, "--instances", "2", "--port", str(port)) as running:
        instances = running.wait_for_instances(2)
    assert [instances[index]["port"] for index in (0, 1)] == [port, port + 1]


def _is_free(port: int) -> bool:
    with contextlib.suppress(PortError):
        ensure_free("the next instance", port)
        return reserve(port)
    return False


def test_a_taken_port_ends_the_supervisor(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with supervised(tmp_path, "--port", str(port)) as running:
            assert running.process.wait(60) == 1
            assert f"port {port} is taken" in running.log.read_text()
