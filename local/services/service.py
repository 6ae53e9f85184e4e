"""What a child process is, before it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from local.services.health import Probe


@dataclass(frozen=True)
class Service:
    """One child process.

    Attributes:
        name: shown by `status`, and the name of its log.
        command: program and arguments; never a secret, because every user can list them.
        ports: port by its name in `DEFAULT_PORTS`.
        probes: healthy when all of them are answered.
        environment: added to the inherited one; secrets travel here.
        after: names of services that must be healthy before this one starts.
        foreground: whether it shares this process's environment, folder and output; else it runs
            in the repository, without the app's settings, and writes a log.
        ready_file: the file that the process with this id writes once it is ready; None without
            such a file.
        fatal_exit_code: the exit code of a first start that another start would repeat; None: no
            first start is tried again, however it ended.
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
