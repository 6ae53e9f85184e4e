"""The endpoints of the deployed system, read from the output of `azd env get-values`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from breaker.configuration.carried import project_folder
from breaker.configuration.lookup import bare
from loadtest.errors import UsageError
from loadtest.target.endpoints import Endpoints

PREFIX = "BREAKWATER_"
REQUIRED = (
    *("REDIS_URL", "EVENT_HUB", "CONSUMER_GROUP", "POISON_QUEUE", "FUNCTION_APP_ID"),
    "TOPIC_ENDPOINT",
)
MANAGEMENT = "https://management.azure.com"
_SETTINGS = project_folder() / "infra" / "settings.json"
"""The deployed settings; reading the app's settings in Azure needs permission to its secrets."""


def read_azure_endpoints(file: Path) -> Endpoints:
    """Return the endpoints from a file of NAME="value" lines.

    Hub and storage are accessed by identity, or by connection string if the file has
    BREAKWATER_EVENT_HUB_CONNECTION, BREAKWATER_STORAGE_CONNECTION (the app's account) or
    BREAKWATER_HOST_STORAGE_CONNECTION. A file without a value of the host's account is of a
    deployment with one account.

    Raises:
        UsageError: the file does not exist or lacks a value; the message says how to write it.
    """
    try:
        values = _parse(file.read_text())
    except FileNotFoundError:
        raise UsageError(
            f"{file} does not exist; write it with `azd env get-values > {file}`, or name another "
            "file with --endpoints"
        ) from None
    needed = list(REQUIRED)
    if not values.get("EVENT_HUB_CONNECTION"):
        needed.append("EVENT_HUB_NAMESPACE")
    if not values.get("STORAGE_CONNECTION"):
        needed += ["STORAGE_QUEUE_URI", "STORAGE_BLOB_URI"]
    if missing := [PREFIX + name for name in needed if not values.get(name)]:
        raise UsageError(
            f"{file} lacks {', '.join(missing)}; write it with `azd env get-values > {file}` after "
            "`azd provision`"
        )
    # A URL with a password belongs to a Redis that is accessed by key instead of identity.
    by_identity = "@" not in values["REDIS_URL"]
    return Endpoints(
        redis_url=values["REDIS_URL"],
        redis_by_identity=by_identity,
        storage_connection_string=values.get("STORAGE_CONNECTION", ""),
        storage_queue_uri=values.get("STORAGE_QUEUE_URI", ""),
        storage_blob_uri=values.get("STORAGE_BLOB_URI", ""),
        host_storage_connection_string=values.get("HOST_STORAGE_CONNECTION", ""),
        host_storage_blob_uri=values.get("HOST_STORAGE_BLOB_URI", ""),
        event_hub_connection=values.get("EVENT_HUB_CONNECTION", ""),
        event_hub_namespace=values.get("EVENT_HUB_NAMESPACE", ""),
        event_hub_name=values["EVENT_HUB"],
        event_grid_topic_endpoint=values["TOPIC_ENDPOINT"],
        cloud_url="",
        management_url=MANAGEMENT + values["FUNCTION_APP_ID"],
        workflow_url="",
        poison_queue=values["POISON_QUEUE"],
        console_url=values.get("CONSOLE_URL", ""),
        console_token=values.get("CONSOLE_TOKEN", ""),
        settings_file=_SETTINGS,
        deployed_settings=_deployed(values, by_identity=by_identity),
    )


def _parse(text: str) -> dict[str, str]:
    values = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and name.startswith(PREFIX):
            values[name.removeprefix(PREFIX)] = bare(value)
    return values


def _deployed(values: Mapping[str, str], *, by_identity: bool) -> dict[str, str]:
    """Return the app's settings that the load test and `breaker approve` need."""
    settings: dict[str, str] = json.loads(_SETTINGS.read_text())
    return settings | {
        "REDIS_URL": values["REDIS_URL"],
        "BREAKER_REDIS_AUTH": "entra" if by_identity else "url",
        "EVENT_HUB_CONSUMER_GROUP": values["CONSUMER_GROUP"],
        "EVENT_GRID_TOPIC_ENDPOINT": values["TOPIC_ENDPOINT"],
    }
