"""`host --debug` on a real terminal: breakpoint(), the end of debugging, and --reload."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import httpx
import pytest

from local.command import host as host_command
from local.services.child import REPOSITORY
from local.services.ports import free_port
from local.site import SiteState
from tests.support.local.editor import Editor
from tests.support.local.functions_host import clean_environment
from tests.support.local.terminal import Terminal, terminal
from tests.support.processes import wait_for

_PROMPT = "(breakwater) "
_APP = """
import os, time
import azure.functions as func
app = func.FunctionApp()
@app.route()
async def coroutine(req: func.HttpRequest) -> str:
    text = "not changed"
    breakpoint()
    return text
@app.route()
def plain(req: func.HttpRequest) -> str:
    time.sleep(0.3)
    text = "not changed"
    breakpoint()
    return text
@app.route()
def pid(req: func.HttpRequest) -> str:
    return f"{os.getpid()} {os.environ['BREAKWATER_DEBUG']}"
"""


class Debugged:
    """A debugged host on a terminal."""

    def __init__(self, directory: Path, on: Terminal) -> None:
        self.app = directory / "app"
        self.state = directory / "state"
        self.terminal = on
        self._requests = ThreadPoolExecutor()

    def wait_started(self) -> None:
        self.terminal.wait_for("Host started")

    def call(self, function: str) -> Future[httpx.Response]:
        return self._requests.submit(self.get, function)

    def get(self, function: str) -> httpx.Response:
        file = next((self.state / "hosts").glob("*.json"))
        port = json.loads(file.read_text())["port"]
        return httpx.get(f"http://127.0.0.1:{port}/api/{function}", timeout=60)


@contextlib.contextmanager
def debugged(directory: Path, *arguments: str, through: tuple[str, ...] = ()) -> Iterator[Debugged]:
    """Run a debugged host; `through`: the module that runs it, with its arguments."""
    app, state = directory / "app", directory / "state"
    app.mkdir()
    state.mkdir()
    (app / "function_app.py").write_text(_APP)
    (app / "host.json").write_text('{"version": "2.0", "functionTimeout": "00:00:00.1"}')
    command = [*through, "local", "host", "--debug", "--app", str(app), "--port", "0"]
    with terminal(
        *command, "--state-dir", state, *arguments, environment=clean_environment()
    ) as on:
        yield Debugged(directory, on)


def test_breakpoint_opens_the_debugger_on_the_terminal(tmp_path: Path) -> None:
    """The function waits at the prompt without a time limit, and `quit` stops the host."""
    with debugged(tmp_path) as host:
        host.wait_started()
        for function in ("coroutine", "plain"):
            answer = host.call(function)
            assert "-> breakpoint()" in host.terminal.wait_for(_PROMPT)
            host.terminal.type("text = 'changed at the prompt'")
            host.terminal.wait_for(_PROMPT)
            host.terminal.type("continue")
            assert answer.result().text == "changed at the prompt"
        assert host.get("pid").text == f"{host.terminal.process.pid} 1"
        answer = host.call("coroutine")
        host.terminal.wait_for(_PROMPT)
        host.terminal.type("quit")
        assert answer.result().status_code == 500
        assert host.terminal.wait() == 0
    output = host.terminal.output
    assert "The host stops. Its unfinished events are delivered again." in output
    assert "Host stopped" in output
    assert "Timeout value" not in output
    assert list((host.state / "hosts").iterdir()) == []


@pytest.mark.long
def test_ctrl_c_without_a_breakpoint_stops_the_host(tmp_path: Path) -> None:
    """Also after a session of the debugger, which must not keep the signal for itself."""
    with debugged(tmp_path) as host:
        host.wait_started()
        answer = host.call("coroutine")
        host.terminal.wait_for(_PROMPT)
        host.terminal.type("continue")
        assert answer.result().status_code == 200
        host.terminal.press_ctrl_c()
        assert host.terminal.wait() == 0
    assert "received SIGINT; the host stops" in host.terminal.output
    assert "Traceback" not in host.terminal.output


@pytest.mark.long
def test_ctrl_c_at_the_prompt_stops_the_host(tmp_path: Path) -> None:
    with debugged(tmp_path) as host:
        host.wait_started()
        answer = host.call("coroutine")
        host.terminal.wait_for(_PROMPT)
        # Python's readline misses a signal between the prompt and its wait for input.
        while not answer.done():
            host.terminal.press_ctrl_c()
            wait([answer], timeout=2)
        assert host.terminal.wait() in {0, 130}  # 130: the host received a second Ctrl-C
        assert answer.exception() is not None or answer.result().status_code == 500
    assert "The host stops. Its unfinished events are delivered again." in host.terminal.output


@pytest.mark.long
def test_terminal_has_its_echo_after_a_plain_functions_prompt(tmp_path: Path) -> None:
    """The function's thread never ends, so the debugger itself does not restore the terminal."""
    with debugged(tmp_path) as host:
        host.wait_started()
        host.call("plain")
        host.terminal.wait_for(_PROMPT)
        wait_for(lambda: not host.terminal.echoes, "the debugger's own echo")
        host.terminal.process.terminate()
        assert host.terminal.wait() == 0
        assert host.terminal.echoes


@pytest.mark.long
def test_debugged_host_starts_again_in_its_process_after_a_change(tmp_path: Path) -> None:
    """An app that does not load waits for the next change; process, terminal and port stay."""
    with debugged(tmp_path, "--reload", "--debugpy-port", "0") as host:
        host.wait_started()
        code = host.app / "function_app.py"
        code.write_text("def broken(:\n")
        host.terminal.wait_for("function_app.py changed; the host starts again")
        host.terminal.wait_for("the host starts again after the next change")
        code.write_text(_APP.replace("not changed", "a second version"))
        host.terminal.wait_for("Editors can attach to 127.0.0.1:")
        host.wait_started()
        assert host.get("pid").text == f"{host.terminal.process.pid} 1"
        answer = host.call("coroutine")
        host.terminal.wait_for(_PROMPT)
        host.terminal.type("print(text)")
        host.terminal.wait_for("a second version")
        host.terminal.type("q")
        assert answer.result().status_code == 500
        assert host.terminal.wait() == 0


@pytest.mark.long
def test_debugged_host_starts_no_work_while_the_site_is_stopped(tmp_path: Path) -> None:
    with debugged(tmp_path) as host:
        host.wait_started()
        site = SiteState(host.state)
        site.write("Stopped")
        host.terminal.wait_for("the site is stopped; this host starts no work until it is started")
        site.write("Running")
        host.terminal.wait_for("Drain mode ended: listening again")
        host.terminal.press_ctrl_c()
        assert host.terminal.wait() == 0


@pytest.mark.long
def test_breakpoint_opens_an_attached_editor(tmp_path: Path) -> None:
    """Without an editor, breakpoint() still opens the terminal's debugger."""
    with debugged(tmp_path, "--debugpy-port", "0") as host:
        host.terminal.wait_for("Editors can attach to 127.0.0.1:")
        port = int(host.terminal.wait_for(" (Debug Adapter Protocol)"))
        host.wait_started()
        answer = host.call("coroutine")
        host.terminal.wait_for(_PROMPT)
        host.terminal.type("continue")
        assert answer.result().text == "not changed"
        with Editor(port) as editor:
            editor.attach()
            answer = host.call("coroutine")
            thread = editor.event("stopped")["threadId"]
            frame = editor.ask("stackTrace", threadId=thread)["stackFrames"][0]
            assert frame["name"] == "coroutine"
            editor.ask("setExpression", expression="text", value="'by editor'", frameId=frame["id"])
            editor.ask("continue", threadId=thread)
            assert answer.result().text == "by editor"
        host.terminal.press_ctrl_c()
        assert host.terminal.wait() == 0


@pytest.mark.long
def test_editor_that_starts_the_host_keeps_its_breakpoints(tmp_path: Path) -> None:
    """As the first entry of docs/examples/launch.json."""
    port = free_port()
    debugpy = ("debugpy", "--listen", f"127.0.0.1:{port}", "--wait-for-client", "-m")
    with debugged(tmp_path, through=debugpy) as host:
        with wait_for(lambda: Editor.connected(port), "debugpy") as editor:
            editor.attach()
            host.wait_started()
            answer = host.call("coroutine")
            thread = editor.event("stopped")["threadId"]
            assert (
                editor.ask("stackTrace", threadId=thread)["stackFrames"][0]["name"] == "coroutine"
            )
            editor.ask("continue", threadId=thread)
            assert answer.result().text == "not changed"
        host.terminal.press_ctrl_c()
        assert host.terminal.wait() == 0


def test_launch_file_starts_the_command_with_options_that_exist() -> None:
    """The editor's file names the command's module and its arguments."""
    file = json.loads((REPOSITORY / "docs" / "examples" / "launch.json").read_text())
    started, attached = file["configurations"]
    assert started["module"] == "breakwater"
    name, *arguments = started["args"]
    context = host_command.make_context(name, arguments)
    assert name == "host"
    assert context.params["debug"]
    assert attached["connect"]["host"] == "127.0.0.1"
    assert f"--debugpy-port {attached['connect']['port']}" in attached["name"]
