"""What a child process is, before it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from local.services.health import Probe


@dataclass(frozen=True)
class Service:
    """One child of the stack.

    Attributes:
        name: shown by `status`, and the name of its log.
        command: program and arguments; never a secret, because every user can list them.
        ports: port by its name in `DEFAULT_PORTS`.
        probes: healthy when all of them are answered.
        environment: added to the inherited one; secrets travel here.
        after: names of services that must be healthy before this one starts.
    """

    name: str
    command: tuple[str, ...]
    ports: Mapping[str, int]
    probes: tuple[Probe, ...]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    after: tuple[str, ...] = ()
