"""The endpoints of the stack under test, as written by `python -m local up`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from breaker.configuration.errors import ConfigurationError
from breaker.configuration.local_settings import read_local_settings
from breaker.configuration.lookup import value_of
from breaker.configuration.pipelines import pipeline_of
from loadtest.errors import UsageError

_REQUIRED = (
    "redis_url",
    "storage_connection_string",
    "event_hub_connection",
    "event_hub_name",
    "event_grid_topic_endpoint",
    "cloud_url",
    "management_url",
    "workflow_url",
    "poison_queue",
    "settings_file",
)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The endpoints that the load test uses; `repr` leaves out the secrets.

    Attributes:
        event_hub_namespace, storage_queue_uri, storage_blob_uri: used with an identity if there is
            no connection string.
        host_storage_connection_string, host_storage_blob_uri: the account of the checkpoints; both
            are empty if the host and the app have one account.
        redis_by_identity: whether the Redis client authenticates with an identity.
        redis_servers: the URLs of the servers behind `redis_url`; empty without a replica.
        redis_proxy_control_url: the control port of the proxy in front of them.
        deployed_settings: the app's settings on Azure; None if the settings file has them.
        pipeline: the pipeline whose hub and queue these are; "" for an app with one pipeline.
    """

    redis_url: str = field(repr=False)
    storage_connection_string: str = field(repr=False)
    event_hub_connection: str = field(repr=False)
    event_hub_name: str
    event_grid_topic_endpoint: str
    cloud_url: str
    management_url: str
    workflow_url: str
    poison_queue: str
    settings_file: Path
    event_grid_topic_key: str = field(default="", repr=False)
    event_hub_control_url: str = ""
    console_url: str = ""
    console_token: str = field(default="", repr=False)
    state_dir: Path = Path()
    event_hub_namespace: str = ""
    storage_queue_uri: str = ""
    storage_blob_uri: str = ""
    host_storage_connection_string: str = field(default="", repr=False)
    host_storage_blob_uri: str = ""
    redis_by_identity: bool = False
    redis_servers: tuple[str, ...] = ()
    redis_proxy_control_url: str = ""
    deployed_settings: Mapping[str, str] | None = None
    pipeline: str = ""

    @classmethod
    def read(cls, file: Path) -> Endpoints:
        """Return the endpoints from `endpoints.json`.

        Raises:
            UsageError: the file does not exist, is invalid or lacks a value; the message says
                which.
        """
        try:
            values: dict[str, Any] = json.loads(file.read_text())
        except FileNotFoundError:
            raise UsageError(
                f"no stack is running, because {file} does not exist; "
                "start a stack with `breakwater up`"
            ) from None
        except ValueError as error:
            raise UsageError(f"{file} is not JSON: {error}") from None
        if missing := [name for name in _REQUIRED if not values.get(name)]:
            raise UsageError(f"{file} lacks {', '.join(missing)}")
        texts: dict[str, Any] = {
            name: str(values[name]) for name in _REQUIRED if name != "settings_file"
        }
        # A stack with two accounts names the account of the poison queue apart.
        host_storage = texts["storage_connection_string"]
        texts["storage_connection_string"] = str(
            values.get("app_storage_connection_string") or host_storage
        )
        return cls(
            **texts,
            host_storage_connection_string=host_storage,
            settings_file=Path(values["settings_file"]),
            event_grid_topic_key=str(values.get("event_grid_topic_key", "")),
            event_hub_control_url=str(values.get("event_hub_control_url", "")),
            redis_servers=tuple(map(str, values.get("redis_servers", ()))),
            redis_proxy_control_url=str(values.get("redis_proxy_control_url", "")),
            console_url=str(values.get("console_url", "")),
            console_token=str(values.get("console_token", "")),
            state_dir=file.parent,
        )

    @property
    def is_azure(self) -> bool:
        """Return whether the target is on Azure, where there is no state directory."""
        return self.deployed_settings is not None

    @property
    def redis_address(self) -> str:
        """The host and port of Redis, without the URL's password."""
        url = urlsplit(self.redis_url)
        return f"{url.hostname}:{url.port or 6379}"

    @property
    def pipeline_options(self) -> tuple[str, ...]:
        """The options of a command that name the pipeline; none for an app with one pipeline."""
        return ("--pipeline", self.pipeline) if self.pipeline else ()

    def of(self, pipeline: str) -> Endpoints:
        """Return the endpoints as one pipeline of the app uses them.

        Raises:
            UsageError: the app has no such pipeline, or the settings file cannot be read.
        """
        try:
            found = pipeline_of(self.app_settings(), pipeline)
        except ConfigurationError as error:
            raise UsageError(str(error)) from None
        return replace(
            self,
            pipeline=found.name,
            event_hub_name=found.settings["EVENT_HUB_NAME"],
            poison_queue=value_of(found.settings, "POISON_QUEUE"),
        )

    def pipeline_settings(self) -> Mapping[str, str]:
        """Return the app's settings as the pipeline has them.

        Raises:
            UsageError: see `app_settings`.
        """
        values = self.app_settings()
        return pipeline_of(values, self.pipeline).settings if self.pipeline else values

    def app_settings(self) -> dict[str, str]:
        """Return the app's settings, as deployed or from the settings file's `Values`.

        Raises:
            UsageError: the file is missing or invalid.
        """
        if self.deployed_settings is not None:
            return dict(self.deployed_settings)
        try:
            return read_local_settings(self.settings_file)
        except ConfigurationError as error:
            raise UsageError(str(error)) from None
