"""HTTP requests to a subscription's webhook: validation handshakes and deliveries."""

from __future__ import annotations

import asyncio
import hmac
import json
import uuid
from datetime import UTC, datetime

import httpx

from local.event_grid.errors import ValidationError
from local.event_grid.events import GridEvent, Schema
from local.event_grid.schedule import is_success
from local.event_grid.subscription import Subscription

ORIGIN = "eventgrid.azure.net"
TIMEOUT_SECONDS = 30
"""The timeout of one delivery attempt, as in the service."""


class NoAnswerError(Exception):
    """A delivery attempt without an answer; the message gives the type and text of the error."""


class Webhook:
    """The HTTP client for subscribers' endpoints."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def validate(self, subscription: Subscription, topic: str) -> None:
        """Run the validation handshake of the subscription's schema.

        Raises:
            ValidationError: the endpoint does not answer, or the answer is wrong.
        """
        try:
            if subscription.schema is Schema.CLOUD_EVENTS:
                await self._validate_with_options(subscription)
            else:
                await self._validate_with_code(subscription, topic)
        except httpx.HTTPError as error:
            raise ValidationError(
                f"subscription {subscription.name}: {subscription.base_url} did not answer: "
                f"{error!r}"
            ) from error

    async def deliver(
        self, subscription: Subscription, event: GridEvent, topic: str, earlier_attempts: int
    ) -> int:
        """Make one delivery attempt and return the HTTP status of the answer.

        Raises:
            NoAnswerError: the endpoint did not answer within `TIMEOUT_SECONDS`.
        """
        body = event.as_schema(subscription.schema, topic)
        is_cloud_event = subscription.schema is Schema.CLOUD_EVENTS
        kind = "application/cloudevents+json" if is_cloud_event else "application/json"
        request = self._client.build_request(
            "POST",
            subscription.endpoint,
            content=json.dumps(body if is_cloud_event else [body]),
            headers={
                "content-type": f"{kind}; charset=utf-8",
                "webhook-request-origin": ORIGIN,
                "aeg-event-type": "Notification",
                "aeg-subscription-name": subscription.name.upper(),
                "aeg-delivery-count": str(earlier_attempts),
                "aeg-output-event-id": event.id,
            },
        )
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                # Only the status counts, so the body of the response is not read.
                response = await self._client.send(request, stream=True)
                await response.aclose()
        except (httpx.HTTPError, TimeoutError) as error:
            raise NoAnswerError(f"{type(error).__name__}: {error}") from error
        return response.status_code

    async def _validate_with_options(self, subscription: Subscription) -> None:
        """Validate by the abuse protection of the CloudEvents webhook specification."""
        response = await self._client.options(
            subscription.endpoint,
            headers={"webhook-request-origin": ORIGIN, "webhook-request-rate": "120"},
        )
        allowed = response.headers.get("webhook-allowed-origin", "")
        if not is_success(response.status_code) or allowed not in {"*", ORIGIN}:
            raise ValidationError(
                f"subscription {subscription.name}: OPTIONS {subscription.base_url} answered "
                f"{response.status_code} with WebHook-Allowed-Origin {allowed!r}; "
                f"the answer must be 200 to 204 with {ORIGIN!r} or '*'"
            )

    async def _validate_with_code(self, subscription: Subscription, topic: str) -> None:
        """Validate by Event Grid's own handshake, in which the endpoint returns a code."""
        code = str(uuid.uuid4())
        event = {
            "id": str(uuid.uuid4()),
            "topic": topic,
            "subject": "",
            "data": {"validationCode": code},
            "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
            "eventTime": datetime.now(UTC).isoformat(),
            "metadataVersion": "1",
            "dataVersion": "2",
        }
        response = await self._client.post(
            subscription.endpoint,
            json=[event],
            headers={
                "aeg-event-type": "SubscriptionValidation",
                "aeg-subscription-name": subscription.name.upper(),
            },
        )
        if response.status_code != 200 or not _echoes(response, code):
            raise ValidationError(
                f"subscription {subscription.name}: {subscription.base_url} answered "
                f"{response.status_code}; the answer must be 200 with "
                '{"validationResponse": <the validation code of the request>}'
            )


def _echoes(response: httpx.Response, code: str) -> bool:
    try:
        answer = response.json()
    except ValueError:
        return False
    echoed = answer.get("validationResponse") if isinstance(answer, dict) else None
    return isinstance(echoed, str) and hmac.compare_digest(echoed.encode(), code.encode())
