"""The composition root of the stack: services, endpoints and settings from the options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from local.services.azurite import APP_ACCOUNT, azurite_service, storage_connection_string
from local.services.cloud import SITE_PATH, TOPIC, cloud_service
from local.services.console import console_service
from local.services.event_hubs import event_hub_connection, event_hubs_service
from local.services.ports import LOOPBACK, PortChoice, free_port, same_port
from local.services.redis import redis_service, redis_url
from local.services.redis_pair import REPLICATION, proxy_service, replica_service
from local.services.service import Service
from local.settings_file import app_settings
from local.stack.hubs import hubs_of
from local.stack.kept import Kept, hub_directory
from local.state_directory import StateDirectory

CLOUD_DEFAULTS: Mapping[str, float] = {
    "--grid-retry-scale": 1.0,
    "--workflow-retry-scale": 0.1,
    "--stop-seconds": 0.0,
}
"""The options of the cloud process that `up` passes on."""


@dataclass(frozen=True)
class StackOptions:
    """The options of `up`; the defaults stand for options that were not given.

    Attributes:
        partitions: the number of the hub's partitions; None continues with the kept number, or
            takes 4.
        redis_replica: whether Redis has a replica, and a proxy has the address of both.
        cloud: the given options of the cloud process; the others have `CLOUD_DEFAULTS`.
        wipe: delete the data of the run before, instead of continuing with it.
    """

    directory: StateDirectory
    settings_file: Path
    ports: PortChoice
    partitions: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)
    console: bool = True
    redis_replica: bool = False
    cloud: Mapping[str, float] = field(default_factory=dict)
    wipe: bool = False


@dataclass(frozen=True)
class Stack:
    """The services of the stack, their endpoints and the app's settings (`values`).

    Attributes:
        ports: all ports by name, which the next run uses again.
        partitions: the number of the hub's partitions.
    """

    services: tuple[Service, ...]
    ports: Mapping[str, int]
    partitions: int
    endpoints: dict[str, Any] = field(repr=False)
    values: dict[str, str] = field(repr=False)


@dataclass(frozen=True)
class RedisPair:
    """A replica of Redis, and the proxy; their ports are those of the run before, or free ones.

    Attributes:
        ports: the ports by name; `redis-proxy` is the address of both servers.
        services: the replica and the proxy.
        endpoints: the addresses of the two servers and of the proxy's control port.
    """

    ports: Mapping[str, int]
    services: tuple[Service, ...]
    endpoints: dict[str, Any]

    @classmethod
    def choose(cls, ports: Mapping[str, int], kept: Mapping[str, int], data: Path) -> Self:
        """Choose the ports, and create the replica's directory."""
        primary, own = ports["redis"], dict[str, int]()
        for name in ("redis-replica", "redis-proxy", "redis-proxy-control"):
            taken = {*ports.values(), *own.values()}
            again = kept.get(name)
            usable = None if again is None or again in taken else same_port(again)
            own[name] = usable or free_port(avoid=taken)
        replica, proxy, control = own.values()
        (data / "redis-replica").mkdir(exist_ok=True)
        return cls(
            own,
            (
                replica_service(replica, data / "redis-replica", primary),
                proxy_service(proxy, control, (primary, replica)),
            ),
            {
                "redis_servers": [redis_url(primary), redis_url(replica)],
                "redis_proxy_control_url": f"http://{LOOPBACK}:{control}",
            },
        )


def compose(options: StackOptions, kept: Kept, supervisor_pid: int) -> Stack:
    """Choose ports, create directories and describe the services without starting them.

    Raises:
        PortError: a port is taken.
        PipelineError: the settings of pipelines cannot be used.
        KeptDataError: the options do not fit the data of the run before.
        DamagedFileError: the record of the kept hub cannot be read.
        FileNotFoundError: a program of the stack is not installed.
    """
    keys, ports = kept.keys, options.ports.resolve(kept.ports)
    data = options.directory.data
    (data / "redis").mkdir(parents=True, exist_ok=True)
    pair = RedisPair.choose(ports, kept.ports, data) if options.redis_replica else None
    address = redis_url(ports["redis"] if pair is None else pair.ports["redis-proxy"])
    cloud_url = f"http://{LOOPBACK}:{ports['cloud']}"
    console_url = f"http://{LOOPBACK}:{ports['console']}"
    values = app_settings(
        storage=storage_connection_string(ports),
        app_storage=storage_connection_string(ports, APP_ACCOUNT),
        event_hub=event_hub_connection(ports["event-hubs"], keys.event_hub_key),
        redis_url=address,
        topic_endpoint=f"{cloud_url}/topics/{TOPIC}/api/events",
        topic_key=keys.topic_key,
        function_app_url=f"{cloud_url}{SITE_PATH}",
        console_url=console_url if options.console else "",
        overrides=options.settings,
    )
    hubs = hubs_of(values, options.directory, options.partitions)
    console = console_service(
        ports["console"],
        token=keys.console_token,
        app_settings=values,
        app=Path.cwd(),  # a user starts the stack in the folder of the app
    )
    services = (
        azurite_service(ports, data / "azurite"),
        redis_service(ports["redis"], data / "redis", () if pair is None else REPLICATION),
        *(() if pair is None else pair.services),
        *((console,) if options.console else ()),
        event_hubs_service(
            ports["event-hubs"],
            ports["event-hubs-control"],
            data / "event-hubs.json",
            hubs=hubs,
            key=keys.event_hub_key,
            data=hub_directory(options.directory),
        ),
        cloud_service(
            ports["cloud"],
            options.directory.path,
            topic_key=keys.topic_key,
            console_url=console_url,
            console_token=keys.console_token,
            arguments=tuple(
                argument
                for option, number in {**CLOUD_DEFAULTS, **options.cloud}.items()
                for argument in (option, str(number))
            ),
        ),
    )
    endpoints = {
        "redis_url": address,
        **({} if pair is None else pair.endpoints),
        "storage_connection_string": storage_connection_string(ports),
        # Without a value in the settings, the app uses the host's account.
        "app_storage_connection_string": values["BreakwaterStorage"]
        or values["AzureWebJobsStorage"],
        "event_hub_connection": event_hub_connection(ports["event-hubs"], keys.event_hub_key),
        "event_hub_name": hubs[0].name,
        "event_hub_names": [hub.name for hub in hubs],
        "event_hub_control_url": f"http://{LOOPBACK}:{ports['event-hubs-control']}",
        "event_grid_topic_endpoint": f"{cloud_url}/topics/{TOPIC}/api/events",
        "event_grid_topic_key": keys.topic_key,
        "cloud_url": cloud_url,
        "management_url": f"{cloud_url}{SITE_PATH}",
        "workflow_url": f"{cloud_url}/workflows",
        "console_url": console_url if options.console else "",
        "console_token": keys.console_token if options.console else "",
        "poison_queue": values["POISON_QUEUE"],
        "settings_file": str(options.settings_file),
        "state_dir": str(options.directory.path),
        "supervisor_pid": supervisor_pid,
    }
    used = {**ports, **({} if pair is None else pair.ports)}
    return Stack(services, used, hubs[0].partitions, endpoints, values)
