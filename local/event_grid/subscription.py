"""Webhook subscriptions of a topic."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from local.event_grid.errors import GridError
from local.event_grid.events import GridEvent, Schema

_NAME = re.compile(r"[A-Za-z0-9-]{3,64}")
_FIELDS = ("name", "endpoint", "event_types", "schema")


@dataclass(frozen=True)
class Subscription:
    """A webhook subscription.

    Attributes:
        name: 3 to 64 letters, digits and hyphens.
        endpoint: URL to which events are POSTed; the query may contain a secret and is never shown.
        event_types: event types that are delivered; None delivers all types.
        schema: schema in which events are delivered.
    """

    name: str
    endpoint: str = field(repr=False)
    event_types: frozenset[str] | None = None
    schema: Schema = Schema.CLOUD_EVENTS

    @classmethod
    def from_request(cls, value: object) -> Self:
        """Parse {"name", "endpoint", "event_types": [...]?, "schema"?}.

        Raises:
            GridError: a field is missing, unknown or invalid.
        """
        if not isinstance(value, dict):
            raise GridError("a subscription must be a JSON object with name and endpoint")
        if unknown := sorted(set(value) - set(_FIELDS)):
            raise GridError(
                f"unknown fields {', '.join(unknown)}; a subscription accepts {', '.join(_FIELDS)}"
            )
        name, endpoint = value.get("name"), value.get("endpoint")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise GridError(f"name is {name!r}; it must have 3 to 64 letters, digits and hyphens")
        if not isinstance(endpoint, str) or not _is_http_url(endpoint):
            raise GridError("endpoint must be an absolute http or https URL")
        return cls(name, endpoint, _event_types(value.get("event_types")), _schema(value))

    @property
    def base_url(self) -> str:
        """The endpoint without its query."""
        parts = urlsplit(self.endpoint)
        return f"{parts.scheme}://{parts.netloc}{parts.path}"

    def wants(self, event: GridEvent) -> bool:
        """Return whether the filter matches an event; event types ignore case, as on Azure."""
        if self.event_types is None:
            return True
        return event.type.lower() in {kind.lower() for kind in self.event_types}

    def as_dict(self) -> dict[str, Any]:
        """Return the public form."""
        return {
            "name": self.name,
            "endpoint_base_url": self.base_url,
            "event_types": sorted(self.event_types) if self.event_types is not None else None,
            "schema": self.schema.value,
        }


def _is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        usable = bool(parts.hostname) and parts.port != 0
        httpx.URL(text)
    except (ValueError, httpx.InvalidURL):  # an invalid port, host name or address
        return False
    return usable and parts.scheme in {"http", "https"}


def _event_types(value: object) -> frozenset[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise GridError("event_types must be an array of event types, or null for all types")
    return frozenset(value) if value else None


def _schema(value: dict[str, Any]) -> Schema:
    schema = value.get("schema", Schema.CLOUD_EVENTS)
    try:
        return Schema(schema)
    except ValueError:
        raise GridError(f"schema is {schema!r}; it must be {' or '.join(Schema)}") from None
