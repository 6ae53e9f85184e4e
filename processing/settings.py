"""Settings of processing: frozen, checked once, each named as its app setting."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from processing.errors import SettingsError

PREFIX = "PROCESSING_"

type KeylessOrder = Literal["partition", "none"]
type PoisonOrdering = Literal["skip", "park"]
type ProgressMode = Literal["strict", "relaxed"]


@dataclass(frozen=True, slots=True)
class ProcessingSettings:
    """What an operator may tune; each is the app setting PROCESSING_<NAME IN CAPITALS>.

    Attributes:
        max_lanes: lanes of one batch that run at the same time.
        max_attempts: attempts per event, the first included.
        retry_initial_seconds: pause after the first failure; doubles after each further one.
        retry_max_seconds: longest pause between attempts.
        dependency_errors: dotted names of further exceptions that mean that a dependency is down.
        dependency_pause_seconds: pause before a kept event is tried again.
        handler_timeout_seconds: how long one call of an async handler (or what a plain one returns
            to be awaited) may take; longer counts as a dependency that is down. 0: as long as it
            wants.
        hold_seconds: how long an invocation waits for the circuit before it fails.
        keyless_order: whether events without a key keep their order (`partition`) or run freely
            (`none`).
        progress_mode: whether a lane waits for its event's completion to be committed (`strict`)
            or goes on at once (`relaxed`).
        poison_ordering: whether a key goes on after a poisoned event (`skip`) or what comes behind
            it waits, in order, for a redrive (`park`).
        parked_events_max: the most events of one key that wait; then its partition holds.
        progress_ttl_seconds: how long an idle partition's progress is remembered.
    """

    max_lanes: int = 128
    max_attempts: int = 4
    retry_initial_seconds: float = 0.1
    retry_max_seconds: float = 5.0
    dependency_errors: tuple[str, ...] = ()
    dependency_pause_seconds: float = 1.0
    handler_timeout_seconds: float = 60.0
    hold_seconds: float = 60.0
    keyless_order: KeylessOrder = "partition"
    progress_mode: ProgressMode = "strict"
    poison_ordering: PoisonOrdering = "skip"
    parked_events_max: int = 100_000
    progress_ttl_seconds: int = 7 * 24 * 3600

    def __post_init__(self) -> None:
        _check("max_lanes", self.max_lanes, 1, 10_000)
        _check("max_attempts", self.max_attempts, 1, 100)
        _check("retry_initial_seconds", self.retry_initial_seconds, 0, 3600)
        _check("retry_max_seconds", self.retry_max_seconds, 0, 3600)
        _check("dependency_pause_seconds", self.dependency_pause_seconds, 0, 3600)
        _check("handler_timeout_seconds", self.handler_timeout_seconds, 0, 3600)
        _check("hold_seconds", self.hold_seconds, 0, 3600)
        _check("progress_ttl_seconds", self.progress_ttl_seconds, 60, 365 * 24 * 3600)
        _check("parked_events_max", self.parked_events_max, 1, 10_000_000)
        _choice("keyless_order", self.keyless_order, ("partition", "none"))
        _choice("progress_mode", self.progress_mode, ("strict", "relaxed"))
        _choice("poison_ordering", self.poison_ordering, ("skip", "park"))

    @classmethod
    def from_mapping(cls, settings: Mapping[str, str]) -> Self:
        """Build from app settings.

        Raises:
            SettingsError: a PROCESSING_ name is unknown (the nearest known one is suggested), or
                a value is not what the setting takes.
        """
        known = {PREFIX + each.name.upper(): each for each in fields(cls)}
        values: dict[str, Any] = {}
        for name, text in settings.items():
            if not name.upper().startswith(PREFIX):
                continue
            if name.upper() not in known:
                near = difflib.get_close_matches(name.upper(), known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
                raise SettingsError(f"unknown setting {name}; {hint}")
            setting = known[name.upper()]
            values[setting.name] = _convert(name, text, setting.default)
        return cls(**values)


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """Where everything is. Secrets are left out of `repr`.

    Attributes:
        storage: connection string of the storage account, or "" with an identity.
        storage_queue_uri, storage_blob_uri: the account's endpoints, used with an identity.
        event_hub: connection string of the namespace, or "" with an identity.
        namespace: host name of the namespace, with its port if it has one of its own.
        client_id: client id of a user-assigned identity, or "" for the system's.
    """

    event_handler: str
    event_hub_name: str
    event_hub_consumer_group: str
    poison_queue: str
    redis_url: str = field(repr=False)
    storage: str = field(repr=False)
    storage_queue_uri: str
    storage_blob_uri: str
    event_hub: str = field(repr=False)
    namespace: str
    event_grid_topic_endpoint: str
    event_grid_topic_key: str = field(repr=False)
    client_id: str

    @classmethod
    def from_mapping(cls, settings: Mapping[str, str]) -> Self:
        """Read the app settings.

        Raises:
            SettingsError: one that is needed is missing or unusable; says which, what it takes.
        """

        def optional(name: str, default: str = "") -> str:
            return settings.get(name, "").strip() or default

        def required(name: str, what: str) -> str:
            value = optional(name)
            if not value:
                raise SettingsError(f"the app setting {name} is missing; it takes {what}")
            return value

        storage = optional("AzureWebJobsStorage")
        queue_uri = optional("AzureWebJobsStorage__queueServiceUri")
        blob_uri = optional("AzureWebJobsStorage__blobServiceUri")
        if not storage and not (queue_uri and blob_uri):
            raise SettingsError(
                "the app setting AzureWebJobsStorage is missing; it takes a connection string, or "
                "set AzureWebJobsStorage__queueServiceUri and AzureWebJobsStorage__blobServiceUri "
                "to use an identity"
            )
        hub = optional("EventHubConnection")
        namespace = optional("EventHubConnection__fullyQualifiedNamespace")
        if not hub and not namespace:
            raise SettingsError(
                "the app setting EventHubConnection is missing; it takes a connection string, or "
                "set EventHubConnection__fullyQualifiedNamespace to use an identity"
            )
        hub_name = required("EVENT_HUB_NAME", "the name of the event hub")
        return cls(
            event_handler=optional("EVENT_HANDLER", "processing.handlers.ledger:LedgerHandler"),
            event_hub_name=hub_name,
            event_hub_consumer_group=optional("EVENT_HUB_CONSUMER_GROUP", "$Default"),
            poison_queue=optional("POISON_QUEUE", "poison"),
            redis_url=required("REDIS_URL", "a URL such as redis://127.0.0.1:6379/0"),
            storage=storage,
            storage_queue_uri=queue_uri,
            storage_blob_uri=blob_uri,
            event_hub=hub,
            namespace=_endpoint(hub, hub_name) if hub else namespace,
            event_grid_topic_endpoint=optional("EVENT_GRID_TOPIC_ENDPOINT"),
            event_grid_topic_key=optional("EVENT_GRID_TOPIC_KEY"),
            client_id=optional("AzureWebJobsStorage__clientId"),
        )


def _endpoint(connection: str, hub: str) -> str:
    """The host that a connection string of Event Hubs names; a hub in it must be the given one."""
    pairs = (part.partition("=") for part in connection.split(";"))
    fields = {name.strip().lower(): value.strip() for name, _, value in pairs}
    host = urlsplit(fields.get("endpoint", "")).netloc
    if not host:
        raise SettingsError(
            "EventHubConnection names no Endpoint; it takes "
            "Endpoint=sb://...;SharedAccessKeyName=...;SharedAccessKey=..."
        )
    # Azure's host would read that one, and the clients here the other.
    if fields.get("entitypath", hub) != hub:
        raise SettingsError(
            f"EVENT_HUB_NAME is {hub!r}, but EventHubConnection is for the hub "
            f"{fields['entitypath']!r} (EntityPath); they must be the same"
        )
    return host


def _convert(name: str, text: str, default: object) -> object:
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if isinstance(default, int | float):
        kind = type(default)
        try:
            return kind(text)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise SettingsError(f"{name} is {text!r}; it takes {what}") from None
    return text


def _check(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise SettingsError(f"{PREFIX}{name.upper()} is {value}; it takes {least} to {most}")


def _choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SettingsError(
            f"{PREFIX}{name.upper()} is {value!r}; it takes one of {', '.join(choices)}"
        )
