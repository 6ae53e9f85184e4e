"""The source of an Event Hubs trigger: resolved names, and explanations of the SDK's errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from azure.core.utils import parse_connection_string as parse_settings
from azure.eventhub import parse_connection_string

from local.functions_host.errors import SettingsError

if TYPE_CHECKING:
    from local.functions_host.app_settings import AppSettings
    from local.functions_host.worker.functions import Function


@dataclass(frozen=True)
class EventHubsSource:
    """A hub, a consumer group, and the storage for ownership and checkpoints."""

    connection: str = field(repr=False)
    event_hub: str
    consumer_group: str
    storage: str = field(repr=False)

    @classmethod
    def resolve(cls, function: Function, settings: AppSettings) -> EventHubsSource:
        """Resolve the settings of a function's binding.

        Raises:
            SettingsError: the binding names a setting or connection that is not set or malformed.
        """
        binding = function.trigger
        where = f"function {function.name!r}"
        return cls(
            hub_connection(binding, where, settings),
            settings.expand(str(binding["eventHubName"]), where),
            settings.expand(str(binding.get("consumerGroup") or "$Default"), where),
            settings.storage("AzureWebJobsStorage", where),
        )

    @property
    def uses_tls(self) -> bool:
        """True if the SDK uses TLS, False for an emulator, such as this stack's endpoint."""
        return uses_tls(self.connection)

    def explain(self, error: Exception) -> str:
        """Return the SDK's text with the hub or endpoint that the text does not name."""
        text = str(error)
        if "Status code: 404" in text:
            return f"there is no event hub {self.event_hub!r}: {text}"
        if "Failed to initiate the connection" in text:
            endpoint = parse_connection_string(self.connection).fully_qualified_namespace
            return f"{endpoint} cannot be reached (see Endpoint in the connection): {text}"
        return text


def hub_connection(binding: dict[str, Any], where: str, settings: AppSettings) -> str:
    """Return the connection string of a trigger's or an output's binding.

    Raises:
        SettingsError: the setting is not set or malformed; the message begins with `where`.
    """
    name = str(binding.get("connection") or "EventHub")
    connection = settings.connection(name, where)
    try:
        parse_connection_string(connection)
    except ValueError as error:
        raise SettingsError(
            f"{where}: connection {name!r} is not an Event Hubs connection string ({error}); "
            "it takes Endpoint=sb://...;SharedAccessKeyName=...;SharedAccessKey=..."
        ) from None
    return connection


def uses_tls(connection: str) -> bool:
    """Return whether the SDK uses TLS: not for an emulator, such as this stack's endpoint."""
    return parse_settings(connection).get("usedevelopmentemulator") != "true"
