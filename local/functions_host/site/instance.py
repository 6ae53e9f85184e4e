"""One host instance: one process with one event loop, which the worker library shares."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from breaker.configuration.host_options import HostJson
from local.files import write_json
from local.functions_host.app_settings import AppSettings, host_id, load_settings_file
from local.functions_host.host import Host
from local.functions_host.host_json import load_host_json
from local.functions_host.logs import apply_log_levels
from local.functions_host.site.admin import Admin
from local.functions_host.site.banner import print_functions
from local.functions_host.site.web import bind, compose
from local.functions_host.triggers.event_grid import EventGridWebhook
from local.functions_host.triggers.event_hubs.balancing import Balancing
from local.functions_host.triggers.event_hubs.extension import DEFAULT_EXTENSION, Extension
from local.functions_host.triggers.http.endpoints import Endpoint, HttpFunctions
from local.functions_host.worker.execution import Executor
from local.functions_host.worker.functions import CALLED_OVER_HTTP, Function, check_supported
from local.functions_host.worker.worker import Worker
from local.lifeline import watch_stdin
from local.web import Server

if TYPE_CHECKING:
    from local.functions_host.bindings.invoker import BindingInvoker
    from local.functions_host.triggers.factory import ListenerFactory

_log = logging.getLogger("Host.Startup")
_SECOND_SIGNAL_EXIT = 130


@dataclass(frozen=True)
class InstanceOptions:
    """The options of one instance.

    Attributes:
        app: the folder with function_app.py and host.json.
        settings: a local.settings.json, or None for the environment alone.
        hosts: the folder for the file `<pid>.json` that announces this instance, or None.
        port: HTTP port on loopback, 0 for any free port.
        index: the number of this instance, from 0.
        grace: seconds that running functions get to end when the host stops.
        event_hubs_extension: the version of the Event Hubs extension whose form events have.
        lifeline: stop when standard input is closed.
        time_limits: whether a function that exceeds functionTimeout ends the host.
    """

    app: Path
    settings: Path | None = None
    hosts: Path | None = None
    port: int = 7071
    index: int = 0
    grace: float = 10.0
    balancing: Balancing = field(default_factory=Balancing)
    event_hubs_extension: Extension = DEFAULT_EXTENSION
    lifeline: bool = False
    time_limits: bool = True


class Instance:
    """A Functions host from start to stop."""

    def __init__(self, options: InstanceOptions) -> None:
        self._options = options
        self._app = options.app.resolve()
        self._stop = asyncio.Event()
        self._exit_code = 0

    async def run(self) -> int:
        """Run until a signal, the lifeline's end or a function's timeout; return the exit code.

        Raises:
            HostError: the host cannot start.
            ConfigurationError: host.json or the settings file cannot be used.
        """
        options = self._options
        # Set before the app is loaded, because the app's code may install handlers that call these.
        self._watch_signals()
        if options.settings is not None:
            load_settings_file(options.settings, os.environ)
        os.environ["AzureWebJobsScriptRoot"] = str(self._app)  # noqa: SIM112 - its name
        os.environ.setdefault("AZURE_FUNCTIONS_ENVIRONMENT", "Development")
        host_json = load_host_json(self._app / "host.json", os.environ)
        apply_log_levels(host_json.log_levels)
        lifeline = await watch_stdin(self._stop.set) if options.lifeline else None
        listener = bind(options.port)
        try:
            await self._serve(host_json, listener)
        finally:
            listener.close()
            if lifeline is not None:
                lifeline.close()
        return self._exit_code

    async def _serve(self, host_json: HostJson, listener: socket.socket) -> None:
        port = int(listener.getsockname()[1])
        base_url = f"http://127.0.0.1:{port}"
        settings = AppSettings(os.environ, str(self._options.settings or "the environment"))
        worker = Worker(self._app)
        functions = await worker.load()
        check_supported(functions)
        timeout = host_json.function_timeout if self._options.time_limits else None
        disabled = frozenset(f.name for f in functions if settings.is_disabled(f.name))
        active = [function for function in functions if function.name not in disabled]
        bindings = _bindings(functions, worker, settings, host_json)
        executor = Executor(
            bindings or worker,
            timeout=timeout.total_seconds() if timeout else None,
            on_timeout=lambda function: self._give_up(),
        )
        identity = host_id(self._app, settings)
        factory = _listeners(
            active,
            settings,
            host_json,
            executor=executor,
            balancing=self._options.balancing,
            extension=self._options.event_hubs_extension,
            identity=identity,
        )
        if bindings is not None:
            bindings.check(active)
        host = Host(active, factory, executor)
        http = HttpFunctions([Endpoint.of(f) for f in active if f.kind == "httpTrigger"], executor)
        admin = Admin(
            {f.name: f for f in functions},
            disabled,
            executor,
            host,
            host_id=identity,
            base_url=base_url,
        )
        server = Server(
            compose(
                admin.routes(),
                http,
                EventGridWebhook(_by_name(active, "eventGridTrigger"), executor),
                host_json.route_prefix,
            ),
            listener,
        )
        settle_garbage_collection()
        await server.start()
        print_functions(functions, disabled, http.endpoints, base_url, host_json.route_prefix)
        announcement = self._announce(port)
        try:
            if not self._stop.is_set():
                await host.start()
                _log.info("Host started (%s)", base_url)
            await self._until_stopped(host)
            running = await host.stop(self._options.grace)
            if bindings is not None:
                await bindings.close()
            if running:
                _log.warning(
                    "%d invocations still run after %g seconds and end with the process",
                    running,
                    self._options.grace,
                )
            await server.stop()
            _log.info("Host stopped")
        finally:
            if announcement is not None:
                announcement.unlink(missing_ok=True)

    async def _until_stopped(self, host: Host) -> None:
        """Wait for the request to stop; subclasses may control the host's listeners until then."""
        await self._stop.wait()

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._stop.is_set() and number == signal.SIGINT:
            _log.warning("received SIGINT while stopping; the process exits immediately")
            os._exit(_SECOND_SIGNAL_EXIT)
        _log.info("received %s; the host stops", number.name)
        self._stop.set()

    def _give_up(self) -> None:
        self._exit_code = 1
        self._stop.set()

    def _announce(self, port: int) -> Path | None:
        if self._options.hosts is None:
            return None
        path = self._options.hosts / f"{os.getpid()}.json"
        write_json(
            path,
            {
                "pid": os.getpid(),
                "port": port,
                "instance": self._options.index,
                "started_at": datetime.now(UTC).isoformat(),
                "lease_seconds": self._options.balancing.lease_seconds,
            },
        )
        return path


# These two functions import SDKs, which takes longer than the rest of a start. An app that cannot
# be loaded, or whose functions are all called over HTTP, does not need the SDKs.


def _bindings(
    functions: Sequence[Function], worker: Worker, settings: AppSettings, host_json: HostJson
) -> BindingInvoker | None:
    """Return the invoker of apps with inputs or outputs; None when no function has one."""
    if not any(
        function.inputs or any(output["type"] != "http" for output in function.outputs)
        for function in functions
    ):
        return None
    from local.functions_host.bindings.invoker import BindingInvoker  # noqa: PLC0415

    return BindingInvoker(worker, settings, host_json)


def _listeners(
    active: Sequence[Function],
    settings: AppSettings,
    host_json: HostJson,
    *,
    executor: Executor,
    balancing: Balancing,
    extension: Extension,
    identity: str,
) -> ListenerFactory | None:
    """Return a checked factory of listeners; None when every function is called over HTTP."""
    if all(function.kind in CALLED_OVER_HTTP for function in active):
        return None
    from local.functions_host.triggers.factory import ListenerFactory  # noqa: PLC0415

    factory = ListenerFactory(settings, host_json, executor, balancing, extension, identity)
    factory.check(active)
    return factory


def settle_garbage_collection() -> None:
    """Freeze the loaded objects and run the garbage collector less often.

    With the defaults the collector scans all loaded objects several times for each batch and finds
    no garbage.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _by_name(functions: Sequence[Function], kind: str) -> dict[str, Function]:
    return {function.name: function for function in functions if function.kind == kind}
