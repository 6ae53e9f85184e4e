"""A publisher of alerts as CloudEvents 1.0 to an Event Grid topic.

No other module imports the Event Grid SDK.
"""

from __future__ import annotations

from datetime import UTC, datetime

from azure.core.credentials import AzureKeyCredential
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.messaging import CloudEvent
from azure.eventgrid.aio import EventGridPublisherClient
from azure.identity.aio import DefaultAzureCredential

from breaker.alerts.base import Alert
from breaker.alerts.endpoint import check_endpoint


def cloud_event(alert: Alert) -> CloudEvent[dict[str, object]]:
    """Return the CloudEvent of an alert; a repeated alert gives the same id and time."""
    return CloudEvent(
        source=f"/breakwater/circuits/{alert.name}",
        type=alert.type,
        id=alert.id,
        time=datetime.fromtimestamp(alert.at, UTC),
        subject=f"{alert.name}/{alert.generation}",
        data=dict(alert.data),
    )


class EventGridPublisher:
    """A publisher to one topic, by access key, given credential or managed identity.

    Args:
        endpoint: the topic's address, used as given.
        key: the topic's access key; required over plain http.
        credential: used if there is no key; the caller closes it. Without key and credential, the
            publisher creates and closes a `DefaultAzureCredential`.
        client_id: client id of a user-assigned identity, for the `DefaultAzureCredential`.

    Raises:
        SettingsError: see `check_endpoint`.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        key: str | None = None,
        credential: AsyncTokenCredential | None = None,
        client_id: str | None = None,
    ) -> None:
        check_endpoint(endpoint, key)
        self._owned: DefaultAzureCredential | None = None
        if key:
            self._client = EventGridPublisherClient(endpoint, AzureKeyCredential(key))
            return
        if credential is None:
            options = {"managed_identity_client_id": client_id} if client_id else {}
            credential = self._owned = DefaultAzureCredential(**options)
        self._client = EventGridPublisherClient(endpoint, credential)

    async def publish(self, alert: Alert) -> None:
        """Send one alert.

        Raises:
            AzureError: the topic did not accept the alert; the SDK's retries are used up.
        """
        await self._client.send(cloud_event(alert))

    async def aclose(self) -> None:
        """Close the connection, and the credential if the publisher created it."""
        await self._client.close()
        if self._owned is not None:
            await self._owned.close()
