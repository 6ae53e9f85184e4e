"""The description of a child process."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from local.services.health import Probe


@dataclass(frozen=True)
class Service:
    """The description of one child process.

    Attributes:
        name: the name in `status` and of the log file.
        command: program and arguments, without secrets, because every user can list them.
        ports: port by its name in `DEFAULT_PORTS`.
        probes: the service is healthy when all probes are answered.
        environment: variables added to the inherited environment; secrets are passed here.
        after: names of the services that must be healthy before this service starts.
        foreground: whether the service shares this process's environment, folder and output. Other
            services run in the repository, without the app's settings, and write a log.
        ready_file: returns the file that the process with a given id writes when it is ready; None
            without such a file.
        fatal_exit_code: while the service was never ready, a start that ends with this exit code
            is not retried, because the next start would fail the same way; None: a failed first
            start is never retried.
        restarts_endlessly: whether a service that was ready once is restarted however often it
            ends; the log then names the crash loop.
        starts_slowly: whether the start has no time limit while the process runs, because it reads
            its data first.
        death_signal: the signal that the kernel sends if the supervisor is killed (Linux).
    """

    name: str
    command: tuple[str, ...]
    ports: Mapping[str, int] = field(default_factory=dict)
    probes: tuple[Probe, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    after: tuple[str, ...] = ()
    foreground: bool = False
    ready_file: Callable[[int], Path] | None = None
    fatal_exit_code: int | None = None
    restarts_endlessly: bool = False
    starts_slowly: bool = False
    death_signal: signal.Signals = signal.SIGKILL
