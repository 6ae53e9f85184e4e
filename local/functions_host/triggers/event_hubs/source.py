"""What an Event Hubs trigger reads: names resolved, and errors told in their terms."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from azure.core.utils import parse_connection_string as parse_settings
from azure.eventhub import parse_connection_string

from local.functions_host.errors import SettingsError

if TYPE_CHECKING:
    from local.functions_host.app_settings import AppSettings
    from local.functions_host.worker.functions import Function


@dataclass(frozen=True)
class EventHubsSource:
    """A hub and consumer group, and the storage where ownership and checkpoints are."""

    connection: str = field(repr=False)
    event_hub: str
    consumer_group: str
    storage: str = field(repr=False)

    @classmethod
    def resolve(cls, function: Function, settings: AppSettings) -> EventHubsSource:
        """Resolve the binding.

        Raises:
            SettingsError: a setting or connection it names is not set, or is malformed.
        """
        binding = function.trigger
        where = f"function {function.name!r}"
        name = str(binding.get("connection") or "EventHub")
        connection = settings.connection(name, where)
        try:
            parse_connection_string(connection)
        except ValueError as error:
            raise SettingsError(
                f"{where}: connection {name!r} is no Event Hubs connection string ({error}); it "
                "takes Endpoint=sb://...;SharedAccessKeyName=...;SharedAccessKey=..."
            ) from None
        return cls(
            connection,
            settings.expand(str(binding["eventHubName"]), where),
            settings.expand(str(binding.get("consumerGroup") or "$Default"), where),
            settings.storage("AzureWebJobsStorage", where),
        )

    @property
    def uses_tls(self) -> bool:
        """False for an emulator, such as this stack's endpoint, as the SDK takes it."""
        return parse_settings(self.connection).get("usedevelopmentemulator") != "true"

    def explain(self, error: Exception) -> str:
        """The SDK's text, and which setting to look at where the text names none."""
        text = str(error)
        if "Status code: 404" in text:
            return f"there is no event hub {self.event_hub!r}: {text}"
        if "Failed to initiate the connection" in text:
            endpoint = parse_connection_string(self.connection).fully_qualified_namespace
            return f"{endpoint} cannot be reached (see Endpoint in the connection): {text}"
        return text
