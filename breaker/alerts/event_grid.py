"""Alerts as CloudEvents 1.0 to an Event Grid topic; the only user of the Event Grid SDK."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlsplit

from azure.core.credentials import AzureKeyCredential
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.messaging import CloudEvent
from azure.eventgrid.aio import EventGridPublisherClient
from azure.identity.aio import DefaultAzureCredential

from breaker.alerts.base import Alert
from breaker.errors import SettingsError


def cloud_event(alert: Alert) -> CloudEvent[dict[str, object]]:
    """The event that a subscriber sees; a repeat has the same id and time."""
    return CloudEvent(
        source=f"/breakwater/circuits/{alert.name}",
        type=alert.type,
        id=alert.id,
        time=datetime.fromtimestamp(alert.at, UTC),
        subject=f"{alert.name}/{alert.generation}",
        data=dict(alert.data),
    )


def check_endpoint(endpoint: str, key: str | None) -> None:
    """Refuse an address that nothing can be published to; connects to nothing.

    Raises:
        SettingsError: with what it takes.
    """
    scheme = _scheme(endpoint)
    if scheme not in {"http", "https"}:
        raise SettingsError(
            f"EVENT_GRID_TOPIC_ENDPOINT is {endpoint!r}: it takes an http(s) address"
        )
    if scheme == "http" and not key:
        raise SettingsError(
            "EVENT_GRID_TOPIC_ENDPOINT is an http address: it takes EVENT_GRID_TOPIC_KEY, "
            "since a token is only sent over https"
        )


class EventGridPublisher:
    """Publishes to one topic, by key, with a given credential, or by managed identity.

    Args:
        endpoint: the topic's address, used as given.
        key: the topic's access key; the only way over plain http.
        credential: used when there is no key; stays the caller's to close. With neither, the
            publisher makes (and closes) a `DefaultAzureCredential`.
        client_id: of a user-assigned identity, for that.
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
        """Send one alert; raises whatever the SDK raises once its own retries are used up."""
        await self._client.send(cloud_event(alert))

    async def aclose(self) -> None:
        """Close the connection, and the credential if it is the publisher's own."""
        await self._client.close()
        if self._owned is not None:
            await self._owned.close()


def _scheme(endpoint: str) -> str:
    """The scheme of an address that names a host (and, if any, a port that can be); else empty."""
    try:
        parts = urlsplit(endpoint)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return ""
    return parts.scheme if usable else ""
