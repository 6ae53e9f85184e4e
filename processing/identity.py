"""The identity of an app's data: whose event, message, parked list or Redis key it is.

Azure compares the names of namespaces, hubs and consumer groups without regard to case, and the
host writes its checkpoints under lower-cased names. Every key and every document of this app uses
the same normal form, so that `$Default` and `$default` are one consumer group here, too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from urllib.parse import urlsplit

from breaker.configuration.pipelines import DEFAULT

PIPELINE = DEFAULT
"""The name of an app's only pipeline."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity of one app's data; the constructor normalises the names.

    Attributes:
        namespace: host name of the Event Hubs namespace, without a port.
        hub: name of the event hub.
        consumer_group: name of the consumer group.
        pipeline: name of the pipeline.
    """

    namespace: str
    hub: str
    consumer_group: str
    pipeline: str = PIPELINE

    def __post_init__(self) -> None:
        object.__setattr__(self, "namespace", normal_host(self.namespace))
        for name in ("hub", "consumer_group", "pipeline"):
            object.__setattr__(self, name, normal_name(getattr(self, name)))

    def __str__(self) -> str:
        return f"{self.namespace}/{self.hub}/{self.consumer_group}/{self.pipeline}"

    @property
    def app(self) -> str:
        """The app's name for operators, such as `events@ns.example.net/$default`."""
        name = f"{self.hub}@{self.namespace}/{self.consumer_group}"
        return name if self.pipeline == PIPELINE else f"{name}/{self.pipeline}"

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that name the identity where its text cannot be used."""
        return digest(str(self))


@dataclass(frozen=True, slots=True)
class Source:
    """The source of a batch: one partition of a hub, read by one app."""

    identity: Identity
    partition: str

    @property
    def hub(self) -> str:
        """The hub's name in lower case."""
        return self.identity.hub

    @property
    def consumer_group(self) -> str:
        """The consumer group's name in lower case."""
        return self.identity.consumer_group

    def __str__(self) -> str:
        return f"{self.identity}/{self.partition}"


def digest(text: str) -> str:
    """Return sixteen hexadecimal digits that stand for a text in the name of a key or a blob."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def normal_name(name: str) -> str:
    """Return the normal form of a hub's, a consumer group's or a pipeline's name."""
    return name.strip().lower()


def normal_host(namespace: str) -> str:
    """Return the normal form of a namespace's host name: lower case, no port, no final dot."""
    text = namespace.strip()
    try:
        host = urlsplit(f"//{text}").hostname
    except ValueError:  # not a host name, such as "[::1"
        host = None
    return (host or text.lower()).rstrip(".")
