"""Settings of processing and of its connections, validated when they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from breaker.configuration.errors import ConfigurationError
from breaker.configuration.fields import Bounds, Each
from breaker.configuration.hosts import is_server
from breaker.configuration.lookup import value_of
from breaker.configuration.pipelines import DEFAULT, NAME, check_one
from breaker.configuration.references import unresolved
from breaker.configuration.resource_names import DEFAULT_GROUP, group_name, hub_name, queue_name
from breaker.configuration.settings import Settings
from processing.connection_strings import ConnectionStringError, EventHubsConnection
from processing.errors import MissingSettingError, SettingsError
from processing.identity import Identity, normal_name
from processing.storage.accounts import StorageAccount, app_account, host_account

LEAST_WATCHDOG_SECONDS = 2.0

_NAMESPACE = "EventHubConnection__fullyQualifiedNamespace"
_NAMESPACE_TAKES = "NAMESPACE.servicebus.windows.net, or sb://NAMESPACE.servicebus.windows.net/"
_HUB_TAKES = "Endpoint=sb://...;SharedAccessKeyName=...;SharedAccessKey=..."

type KeylessOrder = Literal["partition", "none"]
type PoisonOrdering = Literal["skip", "park"]
type ProgressMode = Literal["strict", "relaxed"]
type _Pause = Annotated[float, Bounds(0, 3600)]


def _error_name(text: str) -> str:
    """Return the name of an exception if it has the form that a class has."""
    parts = text.split(".")
    if len(parts) < 2 or not all(map(str.isidentifier, parts)):
        raise ValueError("dotted names of exceptions, such as pydantic.ValidationError")
    return text


type _ErrorNames = Annotated[tuple[str, ...], Each(_error_name)]


@dataclass(frozen=True, slots=True)
class ProcessingSettings(Settings):
    """Settings that an operator may tune.

    Each attribute is the app setting PROCESSING_<NAME IN CAPITALS>.

    Attributes:
        max_lanes: number of lanes of one batch that run at the same time.
        batch_handler_events: most events in one call of a handler that takes lists. The default is
            the batch that host.json asks for: one call is one batch, unless an event fails.
        max_attempts: number of attempts per event, including the first attempt.
        retry_initial_seconds: pause after the first failure; each further pause is twice as long.
        retry_max_seconds: longest pause between two attempts.
        dependency_errors: dotted names of further exceptions that count as a dependency outage.
        poison_errors: dotted names of exceptions that mean the event can never succeed.
        dependency_pause_seconds: pause before a kept event is retried.
        handler_timeout_seconds: time limit of one call of an async handler, and of an awaitable
            that a plain handler returns. A timeout counts as a dependency outage. 0: no limit,
            which the app refuses.
        hold_seconds: longest time that an invocation waits for the circuit before it fails.
        keyless_order: `partition`: events without a key keep their order; `none`: they run
            independently.
        progress_mode: `strict`: a lane waits until its event's completion is committed; `relaxed`:
            the lane continues at once.
        poison_ordering: `skip`: a key continues after a poisoned event; `park`: the key's later
            events wait, in order, for a redrive.
        parked_events_max: most parked events of one key; at the limit the partition holds.
        parked_megabytes_max: greatest size of one partition's parked lists; at the limit the
            partition holds.
        parking_replicas: number of replicas of Redis that must confirm a parked or deferred event.
        defer_after_seconds: time in each minute for which a partition waits in place for events
            that fail; then such an event is deferred.
        defer_max_seconds: longest pause between two replays of a deferred key.
        defer_rounds_max: number of failed replays, with successes of other keys between them,
            after which an event is poisoned; 0: no limit.
        replay_lease_seconds: time after which another instance may replay a deferred key whose
            instance has died; at least `watchdog_seconds` and one and a half handler timeouts.
        deferred_events_max: number of events in a partition's parked lists at which the partition
            defers no further event and holds; 0: no event is deferred.
        keep_max_seconds: time after which a deferred event is poisoned, without the time in which
            the circuit was not closed; 0: no limit.
        careful_after: number of processes that died at one first unfinished event after which the
            next process handles one event at a time.
        stall_seconds: time after which a partition is reported whose first unfinished event has
            not changed.
        progress_ttl_seconds: time after which an idle partition's progress is deleted. The default
            is longer than the longest retention of a hub (90 days).
        dedupe_property: name of the application property in which a producer puts the id of an
            event; a copy of a finished event is skipped. "": no event is compared.
        dedupe_seconds: time within which the hub has enqueued an event and its copy.
        poison_index_megabytes_max: size in Redis above which the index of the poison queue leaves
            out the messages' long texts; 0: it repeats none.
        watchdog_seconds: time after which a process ends whose event loop stands still; 0: never.
    """

    PREFIX: ClassVar[str] = "PROCESSING_"
    ERROR: ClassVar[type[ConfigurationError]] = SettingsError

    max_lanes: Annotated[int, Bounds(1, 10_000)] = 128
    batch_handler_events: Annotated[int, Bounds(1, 10_000)] = 1_000
    max_attempts: Annotated[int, Bounds(1, 100)] = 4
    retry_initial_seconds: _Pause = 0.1
    retry_max_seconds: _Pause = 5.0
    dependency_errors: _ErrorNames = ()
    poison_errors: _ErrorNames = ()
    dependency_pause_seconds: _Pause = 1.0
    handler_timeout_seconds: _Pause = 60.0
    hold_seconds: _Pause = 60.0
    keyless_order: KeylessOrder = "partition"
    progress_mode: ProgressMode = "strict"
    poison_ordering: PoisonOrdering = "skip"
    parked_events_max: Annotated[int, Bounds(1, 10_000_000)] = 100_000
    parked_megabytes_max: Annotated[int, Bounds(1, 100_000)] = 64
    parking_replicas: Annotated[int, Bounds(0, 5)] = 0
    defer_after_seconds: Annotated[float, Bounds(0, 60)] = 10.0
    defer_max_seconds: Annotated[float, Bounds(1, 24 * 3600)] = 600.0
    defer_rounds_max: Annotated[int, Bounds(0, 1000)] = 10
    replay_lease_seconds: Annotated[float, Bounds(5, 3600)] = 180.0
    deferred_events_max: Annotated[int, Bounds(0, 1_000_000)] = 10_000
    keep_max_seconds: Annotated[float, Bounds(0, 30 * 24 * 3600)] = 0.0
    careful_after: Annotated[int, Bounds(1, 10)] = 3
    stall_seconds: Annotated[float, Bounds(5, 3600)] = 60.0
    progress_ttl_seconds: Annotated[int, Bounds(24 * 3600, 365 * 24 * 3600)] = 100 * 24 * 3600
    dedupe_property: str = ""
    dedupe_seconds: Annotated[float, Bounds(1, 7 * 24 * 3600)] = 600.0
    poison_index_megabytes_max: Annotated[int, Bounds(0, 100_000)] = 64
    watchdog_seconds: Annotated[float, Bounds(0, 3600)] = 120.0

    @property
    def lease_seconds(self) -> float:
        """The duration of a replay's lease.

        The lease outlasts an event loop that stands still until the watchdog ends its process, and
        one call after that: no other instance may replay a key whose call still runs.
        """
        stands_still = self.watchdog_seconds
        return max(self.replay_lease_seconds, stands_still + 1.5 * self.handler_timeout_seconds)

    def check_together(self) -> None:
        """Refuse an error that one setting keeps and the other poisons, and a hasty watchdog."""
        if 0 < self.watchdog_seconds < LEAST_WATCHDOG_SECONDS:
            raise SettingsError(
                f"PROCESSING_WATCHDOG_SECONDS is {self.watchdog_seconds:g}: it takes 0 (never) or "
                f"a number from {LEAST_WATCHDOG_SECONDS:g} to 3600; a shorter time would end "
                "processes that are only busy"
            )
        if both := sorted(set(self.dependency_errors) & set(self.poison_errors)):
            raise SettingsError(
                f"PROCESSING_DEPENDENCY_ERRORS and PROCESSING_POISON_ERRORS both name "
                f"{', '.join(both)}: each error belongs to one of them"
            )


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """Addresses and credentials of all services; `repr` does not show secrets.

    Attributes:
        host_storage: the account of the host's checkpoints and leases.
        app_storage: the account of the poison queue, the claim checks and the marks.
        event_hub: connection string of the namespace; "": sign in with an identity.
        namespace: host name of the namespace, with the port if the port is not the default.
        pipeline: name of the pipeline.
        hub_client_id: client id of the identity that signs in to the namespace; "": the
            system-assigned identity.
    """

    event_handler: str
    event_hub_name: str
    event_hub_consumer_group: str
    poison_queue: str
    redis_url: str = field(repr=False)
    host_storage: StorageAccount
    app_storage: StorageAccount
    event_hub: str = field(repr=False)
    namespace: str
    hub_client_id: str
    event_grid_topic_endpoint: str
    event_grid_topic_key: str = field(repr=False)
    pipeline: str = DEFAULT

    @property
    def identity(self) -> Identity:
        """The identity of the app's data."""
        return Identity(
            self.namespace, self.event_hub_name, self.event_hub_consumer_group, self.pipeline
        )

    @classmethod
    def from_mapping(cls, settings: Mapping[str, str]) -> Self:
        """Read the app settings of one pipeline, see `pipelines_of`.

        Raises:
            PipelineError: the app has several pipelines, and these are the settings of none.
            MissingSettingError: a required setting is missing.
            SettingsError: a setting is unusable.
        """
        check_one(settings)
        storage = host_account(settings)
        hub_text = _optional(settings, "EventHubConnection", _HUB_TAKES)
        namespace = _optional(settings, _NAMESPACE, _NAMESPACE_TAKES)
        if not hub_text and not namespace:
            raise MissingSettingError(
                "the app setting EventHubConnection is missing; it takes a connection string, or "
                "set EventHubConnection__fullyQualifiedNamespace to use an identity"
            )
        _optional(settings, "EventHubConnection__credential", "managedidentity")
        client_id = _optional(settings, "EventHubConnection__clientId", "a client id")
        hub = _required(settings, "EVENT_HUB_NAME", "the name of the event hub")
        hub = _checked("EVENT_HUB_NAME", hub, hub_name)
        connection = _hub_connection(hub_text, hub) if hub_text else None
        group = _optional(settings, "EVENT_HUB_CONSUMER_GROUP", "the name of a consumer group")
        queue = _optional(settings, "POISON_QUEUE", "the name of a queue")
        return cls(
            event_handler=_optional(settings, "EVENT_HANDLER", "module:attribute")
            or "processing.handlers.ledger:LedgerHandler",
            event_hub_name=hub,
            event_hub_consumer_group=_checked(
                "EVENT_HUB_CONSUMER_GROUP", group or DEFAULT_GROUP, group_name
            ),
            poison_queue=_checked("POISON_QUEUE", queue or "poison", queue_name),
            redis_url=_required(settings, "REDIS_URL", "a URL such as redis://127.0.0.1:6379/0"),
            host_storage=storage,
            app_storage=app_account(settings, storage),
            event_hub="" if connection is None else connection.text,
            namespace=_namespace_host(namespace) if connection is None else connection.host,
            hub_client_id=client_id or storage.client_id,
            event_grid_topic_endpoint=_optional(
                settings, "EVENT_GRID_TOPIC_ENDPOINT", "an http(s) address"
            ),
            event_grid_topic_key=_optional(
                settings, "EVENT_GRID_TOPIC_KEY", "an access key of the topic"
            ),
            pipeline=value_of(settings, NAME) or DEFAULT,
        )


def _optional(settings: Mapping[str, str], name: str, takes: str) -> str:
    """Return the value of a setting; "" if the setting is missing or empty."""
    value = value_of(settings, name)
    if problem := unresolved(value):
        raise SettingsError(f"the app setting {name} {problem}; it takes {takes}")
    return value


def _required(settings: Mapping[str, str], name: str, takes: str) -> str:
    value = _optional(settings, name, takes)
    if not value:
        raise MissingSettingError(f"the app setting {name} is missing; it takes {takes}")
    return value


def _checked(setting: str, value: str, check: Callable[[str], str]) -> str:
    """Return the name of a hub, a consumer group or a queue if Azure accepts such a name."""
    try:
        return check(value)
    except ValueError as error:
        raise SettingsError(
            f"the app setting {setting} is {value!r:.100}; it takes {error}"
        ) from None


def _hub_connection(text: str, hub: str) -> EventHubsConnection:
    """Return the parsed connection string of Event Hubs, and check the hub's name in it."""
    try:
        parsed = EventHubsConnection.parse(text)
    except ConnectionStringError as error:
        raise SettingsError(
            f"the app setting EventHubConnection {error}; it takes {_HUB_TAKES}"
        ) from None
    # Azure's host would read the hub of the connection string; the clients here read `hub`.
    named = parsed.entity_path
    if named is not None and normal_name(named) != normal_name(hub):
        raise SettingsError(
            f"EVENT_HUB_NAME is {hub!r}, but EventHubConnection names the hub {named!r} "
            "(EntityPath); both must name the same hub"
        )
    return parsed


def _namespace_host(text: str) -> str:
    """Return the host name of the namespace that an identity signs in to, in lower case.

    Azure's host reads an address with a scheme, or a host name and nothing else: with a slash or a
    port after a plain name its listener does not start.
    """
    has_scheme = "://" in text
    shown = "a connection string" if "=" in text else f"{text!r:.100}"
    refusal = SettingsError(f"the app setting {_NAMESPACE} is {shown}; it takes {_NAMESPACE_TAKES}")
    try:
        parts = urlsplit(text if has_scheme else f"//{text}")
        usable = is_server(parts) and parts.username is None and parts.port in {None, 5671}
    except ValueError:
        raise refusal from None
    host = parts.hostname or ""
    rest = parts.path.strip("/") + parts.query + parts.fragment
    is_plain = has_scheme or text.lower() == host
    if not usable or rest or not is_plain or "." not in host.rstrip("."):
        raise refusal
    return host.removesuffix(".")
