"""Settings of processing: frozen, checked once, each named as its app setting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from breaker.configuration.errors import ConfigurationError
from breaker.configuration.fields import Bounds
from breaker.configuration.settings import Settings
from processing.errors import SettingsError

type KeylessOrder = Literal["partition", "none"]
type PoisonOrdering = Literal["skip", "park"]
type ProgressMode = Literal["strict", "relaxed"]
type _Pause = Annotated[float, Bounds(0, 3600)]


@dataclass(frozen=True, slots=True)
class ProcessingSettings(Settings):
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

    PREFIX: ClassVar[str] = "PROCESSING_"
    ERROR: ClassVar[type[ConfigurationError]] = SettingsError

    max_lanes: Annotated[int, Bounds(1, 10_000)] = 128
    max_attempts: Annotated[int, Bounds(1, 100)] = 4
    retry_initial_seconds: _Pause = 0.1
    retry_max_seconds: _Pause = 5.0
    dependency_errors: tuple[str, ...] = ()
    dependency_pause_seconds: _Pause = 1.0
    handler_timeout_seconds: _Pause = 60.0
    hold_seconds: _Pause = 60.0
    keyless_order: KeylessOrder = "partition"
    progress_mode: ProgressMode = "strict"
    poison_ordering: PoisonOrdering = "skip"
    parked_events_max: Annotated[int, Bounds(1, 10_000_000)] = 100_000
    progress_ttl_seconds: Annotated[int, Bounds(60, 365 * 24 * 3600)] = 7 * 24 * 3600


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
