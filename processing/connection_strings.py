"""Parsers of connection strings, which check a setting without loading an SDK.

A property test compares the parsers with those of the SDKs: an SDK reads each accepted text with
the same result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qs, urlsplit

from breaker.configuration.references import unresolved

_HOST = "core.windows.net"
_DEVELOPMENT = (
    "http://127.0.0.1:10000/devstoreaccount1",
    "http://127.0.0.1:10001/devstoreaccount1",
)
_NO_CREDENTIAL = "has no AccountKey and no SharedAccessSignature"


class ConnectionStringError(ValueError):
    """An unusable connection string; the message contains no secret."""


@dataclass(frozen=True, slots=True)
class EventHubsConnection:
    """A parsed connection string of an Event Hubs namespace.

    Attributes:
        host: host name of the namespace, with the port if the text has one.
        entity_path: name of the hub that the text is limited to, or None.
    """

    host: str
    entity_path: str | None
    key_name: str | None = field(repr=False)
    key: str | None = field(repr=False)
    signature: str | None = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text.

        Raises:
            ConnectionStringError: the SDK would refuse the text.
        """
        fields: dict[str, str] = {}
        for name, value in _pairs(text.strip().rstrip(";"), first="Endpoint"):
            if not name or not value:
                raise ConnectionStringError("has a part without a name or without a value")
            if name.lower() in fields:
                raise ConnectionStringError("has two parts of the same name")
            fields[name.lower()] = value
        host = _host(fields.get("endpoint", "").rstrip("/"))
        if not host:
            raise ConnectionStringError("has no Endpoint")
        key_name, key = fields.get("sharedaccesskeyname"), fields.get("sharedaccesskey")
        signature = fields.get("sharedaccesssignature")
        if bool(key_name) != bool(key):
            missing = "SharedAccessKey" if key_name else "SharedAccessKeyName"
            raise ConnectionStringError(f"has no {missing}")
        if not key and not signature:
            raise ConnectionStringError("has no SharedAccessKey")
        return cls(host, fields.get("entitypath"), key_name, key, signature)


@dataclass(frozen=True, slots=True)
class StorageConnection:
    """A parsed connection string of a storage account.

    Attributes:
        blob, queue: endpoints of the services.
    """

    blob: str
    queue: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text.

        Raises:
            ConnectionStringError: an SDK would refuse the text, or would send requests without a
                credential.
        """
        fields: dict[str, str] = {}
        for name, value in _pairs(text.rstrip(";"), first="AccountName"):
            fields[name.upper()] = value  # the SDKs read the last of several fields of one name
        if fields.get("USEDEVELOPMENTSTORAGE") == "true":
            return cls(*_DEVELOPMENT)
        has_credential = bool(
            (fields.get("ACCOUNTNAME") and fields.get("ACCOUNTKEY"))
            or fields.get("SHAREDACCESSSIGNATURE")
        )
        if not has_credential and "SHAREDACCESSSIGNATURE" in fields:
            raise ConnectionStringError(_NO_CREDENTIAL)
        blob, queue = (_service(fields, name, has_credential) for name in ("Blob", "Queue"))
        return cls(blob, queue)


def _service(fields: Mapping[str, str], name: str, has_credential: bool) -> str:
    """Return the endpoint of a service, from the field of that name or from the account's name."""
    given = fields.get(f"{name}Endpoint".upper())
    if given is None and f"{name}SecondaryEndpoint".upper() in fields:
        raise ConnectionStringError(f"has a {name}SecondaryEndpoint, but no {name}Endpoint")
    endpoint = given or _default_endpoint(fields, name)
    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise ConnectionStringError(f"has a {name}Endpoint that is no http(s) address")
    if not has_credential and "sig" not in parse_qs(parts.query):
        raise ConnectionStringError(_NO_CREDENTIAL)
    return endpoint


def _default_endpoint(fields: Mapping[str, str], name: str) -> str:
    account = fields.get("ACCOUNTNAME")
    if not account:
        raise ConnectionStringError(f"has no AccountName and no {name}Endpoint")
    protocol = "https"
    if f"{name}Endpoint".upper() not in fields and "ENDPOINTSUFFIX" in fields:
        protocol = fields.get("DEFAULTENDPOINTSPROTOCOL", protocol)
    return f"{protocol}://{account}.{name.lower()}.{fields.get('ENDPOINTSUFFIX', _HOST)}"


def _pairs(text: str, *, first: str) -> Iterator[tuple[str, str]]:
    """Yield names and values; of a text without any pair, name the part that comes first.

    No message quotes a part, because a part may be a key.
    """
    if problem := unresolved(text):
        raise ConnectionStringError(problem)
    if "=" not in text:
        raise ConnectionStringError(f"has no {first}")
    for part in text.split(";"):
        name, separator, value = part.partition("=")
        if not separator:
            raise ConnectionStringError("has a part without a value")
        yield name, value


def _host(address: str) -> str:
    try:
        return urlsplit(address).netloc.strip()
    except ValueError:  # for example an IPv6 address without its end
        return ""
