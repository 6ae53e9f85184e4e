"""Start, failed start and stop of a host instance, with real processes."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.forked import run_module
from tests.support.local.functions_host import APPS, Hosts, clean_environment, host_processes
from tests.support.processes import wait_for


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with host_processes(tmp_path, {}) as started:
        yield started


def _run(app: Path, *arguments: str, **settings: str) -> tuple[int, str]:
    """Run a host that is expected not to start; return its exit code and output."""
    ended = run_module(
        *("local.functions_host", "--app", str(app), "--port", "0", *arguments),
        timeout=60,
        environment=clean_environment() | settings,
    )
    return ended.returncode, ended.stdout + ended.stderr


def _app(directory: Path, code: str, host_json: str = '{"version": "2.0"}') -> Path:
    app = directory / "app"
    app.mkdir()
    (app / "function_app.py").write_text(code)
    (app / "host.json").write_text(host_json)
    return app


_HUB = "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=n;SharedAccessKey=Zm9v"
_HTTP = """
import azure.functions as func
app = func.FunctionApp()
@app.route()
def hello(req: func.HttpRequest) -> str:
    return "hello"
"""


def test_an_app_that_does_not_import_is_refused_with_file_and_line() -> None:
    code, output = _run(APPS / "broken_import")
    assert code == 1
    script = APPS / "broken_import" / "function_app.py"
    assert f"function_app.py could not be loaded at {script}, line 4: ModuleNotFoundError" in output
    assert "there_is_no_such_module" in output


def test_an_app_whose_module_the_host_hides_is_refused(tmp_path: Path) -> None:
    """`import local` in the app would get the host's package instead of the app's module."""
    app = _app(tmp_path, _HTTP)
    (app / "local.py").touch()
    code, output = _run(app)
    assert code == 1
    assert f"{app / 'local.py'} cannot be imported on the local host" in output


def test_an_app_gets_its_own_package_breaker(tmp_path: Path) -> None:
    """As on Azure, where no host has imported Breakwater's; then `import breakwater` names it."""
    app = _app(tmp_path, f"import breaker\nimport breakwater\n{_HTTP}")
    (app / "breaker").mkdir()
    (app / "breaker" / "__init__.py").touch()
    code, output = _run(app)
    assert code == 1
    assert f"`import breaker` finds the folder {app / 'breaker'}, which hides" in output


def test_a_syntax_error_is_refused_with_file_and_line(tmp_path: Path) -> None:
    app = _app(tmp_path, "import azure.functions as func\n\ndef broken(:\n")
    code, output = _run(app)
    assert code == 1
    assert f"at {app / 'function_app.py'}, line 3: SyntaxError" in output


def test_a_wrongly_declared_function_is_refused_by_name() -> None:
    code, output = _run(APPS / "broken_binding")
    assert code == 1
    assert "cannot load the tick function" in output
    assert "clock" in output


def test_no_app_is_refused(tmp_path: Path) -> None:
    code, output = _run(tmp_path)
    assert code == 1
    assert f"no function_app.py in {tmp_path}; name the app's folder with --app" in output


def test_builtin_list_annotations_are_refused_with_the_remedy(tmp_path: Path) -> None:
    app = _app(
        tmp_path,
        "import azure.functions as func\napp = func.FunctionApp()\n"
        "@app.event_hub_message_trigger(arg_name='events', event_hub_name='h', connection='C')\n"
        "def take(events: list[func.EventHubEvent]): ...\n",
    )
    code, output = _run(app)
    assert code == 1
    assert "typing.List[...]" in output


def test_missing_settings_are_named() -> None:
    code, output = _run(APPS / "events", HUBS="h", EventHubConnection=_HUB)
    assert code == 1
    assert (
        "function 'process_events': app setting 'HUB' (written %HUB%) is not set in "
        "the environment; did you mean 'HUBS'?"
    ) in output
    code, output = _run(APPS / "events", HUB="h", EventHubConection="E=x")
    assert code == 1
    assert "connection 'EventHubConnection' is not set" in output
    assert "did you mean 'EventHubConection'?" in output
    code, output = _run(APPS / "events", HUB="h", EventHubConnection=_HUB)
    assert code == 1
    assert "connection 'AzureWebJobsStorage' is not set" in output


def test_malformed_connections_are_named_without_their_secrets() -> None:
    code, output = _run(APPS / "events", HUB="h", EventHubConnection="SharedAccessKey=s3cret")
    assert code == 1
    assert "connection 'EventHubConnection' is not an Event Hubs connection string" in output
    assert "s3cret" not in output
    code, output = _run(
        APPS / "events", HUB="h", EventHubConnection=_HUB, AzureWebJobsStorage="AccountKey=s3cret"
    )
    assert code == 1
    assert "connection 'AzureWebJobsStorage' is not a storage connection string" in output
    assert "s3cret" not in output


def test_a_malformed_host_json_is_refused(tmp_path: Path) -> None:
    code, output = _run(_app(tmp_path, _HTTP, '{"version": "2.0", "extensions": []}'))
    assert code == 1
    assert "host.json: extensions is []; it takes a JSON object" in output


def test_an_unsupported_trigger_is_refused(tmp_path: Path) -> None:
    app = _app(
        tmp_path,
        "import azure.functions as func\napp = func.FunctionApp()\n"
        "@app.blob_trigger(arg_name='blob', path='x', connection='C')\n"
        "def take(blob: func.InputStream): ...\n",
    )
    code, output = _run(app)
    assert code == 1
    assert (
        "function 'take': the local host does not support blobTrigger; it supports eventHubTrigger"
        in (output)
    )


def test_taken_port_is_refused() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        code, output = _run(APPS / "triggers", "--port", str(port))
    assert code == 1
    assert f"port {port} is taken" in output
    assert "--port" in output


def test_a_missing_settings_file_is_refused(tmp_path: Path) -> None:
    code, output = _run(APPS / "triggers", "--settings", str(tmp_path / "no.json"))
    assert code == 1
    assert f"{tmp_path / 'no.json'} cannot be read: there is no such settings file" in output


def test_an_app_reads_its_settings_and_the_environment_wins(tmp_path: Path) -> None:
    """The file does not replace existing variables, as with Core Tools."""
    app = _app(
        tmp_path,
        "import os, sys\nsys.exit(os.environ['FROM_FILE'] + ' ' + os.environ['BOTH'])\n",
    )
    settings = tmp_path / "settings.json"
    values = {"FROM_FILE": "file", "BOTH": "file"}
    settings.write_text(json.dumps({"IsEncrypted": False, "Values": values}))
    _, output = _run(app, "--settings", str(settings), BOTH="environment")
    assert "file environment" in output


_SIGNALLED = """
import asyncio, os, signal
from pathlib import Path
import azure.functions as func

app = func.FunctionApp()
stopping = False

def on_term(number, frame):
    global stopping
    stopping = True
    if callable(previous):
        previous(number, frame)

previous = signal.signal(signal.SIGTERM, on_term)

@app.route()
async def waits(req: func.HttpRequest) -> str:
    Path(os.environ["STARTED"]).touch()
    while not stopping:
        await asyncio.sleep(0.01)
    return "ended early"
"""


def test_function_code_may_chain_a_sigterm_handler_of_its_own(hosts: Hosts, tmp_path: Path) -> None:
    """Both handlers run: the function ends early, and the host stops without an error."""
    app = _app(tmp_path, _SIGNALLED)
    started = tmp_path / "started"
    host = hosts.start(app, "--grace", "100", STARTED=str(started)).wait_started()
    with ThreadPoolExecutor() as pool:
        request = pool.submit(httpx.get, f"{host.url}/api/waits", timeout=60)
        wait_for(started.exists, "the invocation")
        assert host.terminate() == 0
        assert request.result().text == "ended early"
    assert "Executed 'Functions.waits' (Succeeded" in host.output()
    assert "Host stopped" in host.output()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_host_stops_on_a_signal_and_withdraws_its_announcement(
    hosts: Hosts, tmp_path: Path, number: signal.Signals
) -> None:
    host = hosts.start(_app(tmp_path, _HTTP), "--index", "3").wait_started()
    announced = json.loads((hosts.hosts_directory / f"{host.pid}.json").read_text())
    assert announced["pid"] == host.pid
    assert announced["instance"] == 3
    assert announced["port"] > 0
    assert "started_at" in announced
    os.kill(host.pid, number)
    assert host.process.wait(60) == 0
    assert not list(hosts.hosts_directory.iterdir())


def test_a_function_that_exceeds_the_function_timeout_ends_the_host(
    hosts: Hosts, tmp_path: Path
) -> None:
    """A running function cannot be interrupted, so the host ends, as Azure's worker does.

    An app setting replaces the option of host.json, as on Azure.
    """
    code = _SIGNALLED.replace("while not stopping", "while True")
    app = _app(tmp_path, code, '{"version": "2.0", "functionTimeout": "01:00:00"}')
    settings = {"AzureFunctionsJobHost__functionTimeout": "00:00:01"}
    started = str(tmp_path / "s")
    host = hosts.start(app, "--grace", "0.2", STARTED=started, **settings).wait_started()
    with ThreadPoolExecutor() as pool:
        request = pool.submit(httpx.get, f"{host.url}/api/waits", timeout=60)
        assert host.process.wait(60) == 1
        assert request.result().status_code == 500
    assert "Timeout value of 1s exceeded by function 'Functions.waits'" in host.output()
