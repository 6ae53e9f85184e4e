"""Settings of processing and of its connections, validated when they are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, Self

from breaker.configuration.errors import ConfigurationError
from breaker.configuration.fields import Bounds, Each
from breaker.configuration.settings import Settings
from processing.connection_strings import ConnectionStringError, EventHubsConnection
from processing.errors import SettingsError
from processing.identity import Identity, normal_name
from processing.storage.accounts import StorageAccount, app_account, host_account

LEAST_WATCHDOG_SECONDS = 2.0

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,254}[A-Za-z0-9])?")

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
        poison_index_megabytes_max: size in Redis above which the index of the poison queue leaves
            out the messages' long texts; 0: it repeats none.
        watchdog_seconds: time after which a process ends whose event loop stands still; 0: never.
    """

    PREFIX: ClassVar[str] = "PROCESSING_"
    ERROR: ClassVar[type[ConfigurationError]] = SettingsError

    max_lanes: Annotated[int, Bounds(1, 10_000)] = 128
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
    event_grid_topic_endpoint: str
    event_grid_topic_key: str = field(repr=False)

    @property
    def identity(self) -> Identity:
        """The identity of the app's data."""
        return Identity(self.namespace, self.event_hub_name, self.event_hub_consumer_group)

    @classmethod
    def from_mapping(cls, settings: Mapping[str, str]) -> Self:
        """Read the app settings.

        Raises:
            SettingsError: a required setting is missing or unusable.
        """

        def optional(name: str, default: str = "") -> str:
            return settings.get(name, "").strip() or default

        def required(name: str, accepted: str) -> str:
            value = optional(name)
            if not value:
                raise SettingsError(f"the app setting {name} is missing; it takes {accepted}")
            return value

        storage = host_account(settings)
        hub = optional("EventHubConnection")
        namespace = optional("EventHubConnection__fullyQualifiedNamespace")
        if not hub and not namespace:
            raise SettingsError(
                "the app setting EventHubConnection is missing; it takes a connection string, or "
                "set EventHubConnection__fullyQualifiedNamespace to use an identity"
            )
        hub_name = _name("EVENT_HUB_NAME", required("EVENT_HUB_NAME", "the name of the event hub"))
        group = optional("EVENT_HUB_CONSUMER_GROUP", "$Default")
        if normal_name(group) != "$default":
            group = _name("EVENT_HUB_CONSUMER_GROUP", group)
        return cls(
            event_handler=optional("EVENT_HANDLER", "processing.handlers.ledger:LedgerHandler"),
            event_hub_name=hub_name,
            event_hub_consumer_group=group,
            poison_queue=optional("POISON_QUEUE", "poison"),
            redis_url=required("REDIS_URL", "a URL such as redis://127.0.0.1:6379/0"),
            host_storage=storage,
            app_storage=app_account(settings, storage),
            event_hub=hub,
            namespace=_endpoint(hub, hub_name) if hub else namespace,
            event_grid_topic_endpoint=optional("EVENT_GRID_TOPIC_ENDPOINT"),
            event_grid_topic_key=optional("EVENT_GRID_TOPIC_KEY"),
        )


def _name(setting: str, value: str) -> str:
    """Return the name of a hub or consumer group if Azure accepts such a name."""
    if not _NAME.fullmatch(value):
        raise SettingsError(
            f"the app setting {setting} is {value!r:.100}; it takes letters, digits, '.', '-' and "
            "'_', with a letter or digit at both ends"
        )
    return value


def _endpoint(connection: str, hub: str) -> str:
    """Return the host in a connection string of Event Hubs, and check the hub's name in it."""
    try:
        parsed = EventHubsConnection.parse(connection)
    except ConnectionStringError as error:
        raise SettingsError(
            f"the app setting EventHubConnection {error}; it takes "
            "Endpoint=sb://...;SharedAccessKeyName=...;SharedAccessKey=..."
        ) from None
    # Azure's host would read the hub of the connection string; the clients here read `hub`.
    named = parsed.entity_path
    if named is not None and normal_name(named) != normal_name(hub):
        raise SettingsError(
            f"EVENT_HUB_NAME is {hub!r}, but EventHubConnection names the hub {named!r} "
            "(EntityPath); both must name the same hub"
        )
    return parsed.host
