"""Parsers of connection strings, which check a setting without loading an SDK.

A property test compares the parsers with those of the SDKs: an SDK reads the `text` of each parsed
connection string with the same result, and builds a client.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qs, urlsplit

from breaker.configuration.hosts import is_host, is_server
from breaker.configuration.references import unresolved
from processing.endpoints import (
    EndpointError,
    account_of,
    check_signature,
    has_signature,
    is_account,
)

_SUFFIX = "core.windows.net"
_DEVELOPMENT = (
    "http://127.0.0.1:10000/devstoreaccount1",
    "http://127.0.0.1:10001/devstoreaccount1",
)
_NO_CREDENTIAL = "has no AccountKey and no SharedAccessSignature"
_SIGNATURE = "SharedAccessSignature "
_BLANK = re.compile(r"\s")


class ConnectionStringError(ValueError):
    """An unusable connection string; the message contains no secret."""


@dataclass(frozen=True, slots=True)
class EventHubsConnection:
    """A parsed connection string of an Event Hubs namespace.

    Attributes:
        host: host name of the namespace in lower case, with the port if the text has one.
        entity_path: name of the hub that the text is limited to, or None.
        is_emulator: whether the namespace is an emulator, which has no TLS.
    """

    host: str
    entity_path: str | None
    key_name: str | None = field(repr=False)
    key: str | None = field(repr=False)
    signature: str | None = field(repr=False)
    is_emulator: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text as Azure's host does: blanks around names and values have no meaning.

        Raises:
            ConnectionStringError: the host or the SDK could not use the text.
        """
        fields: dict[str, str] = {}
        for name, value in _fields(text, first="Endpoint").items():
            if not name.strip() or not value.strip():
                raise ConnectionStringError("has a part without a name or without a value")
            fields[name.strip().lower()] = value.strip()
        if "endpoint" not in fields:
            raise ConnectionStringError("has no Endpoint")
        host = _namespace(fields["endpoint"])
        key_name, key = fields.get("sharedaccesskeyname"), fields.get("sharedaccesskey")
        signature = fields.get("sharedaccesssignature")
        if bool(key_name) != bool(key):
            missing = "SharedAccessKey" if key_name else "SharedAccessKeyName"
            raise ConnectionStringError(f"has no {missing}")
        if not key and not signature:
            raise ConnectionStringError("has no SharedAccessKey")
        if key and signature:
            raise ConnectionStringError("has both a SharedAccessKey and a SharedAccessSignature")
        if signature:
            _check_token(signature)
        emulator = fields.get("usedevelopmentemulator", "false").lower()
        if emulator not in {"true", "false"}:
            raise ConnectionStringError("has a UseDevelopmentEmulator that is not true or false")
        path = fields.get("entitypath")
        return cls(host, path, key_name, key, signature, emulator == "true")

    @property
    def text(self) -> str:
        """The connection string in the form that the SDKs read."""
        fields = {
            "Endpoint": f"sb://{self.host}/",
            "SharedAccessKeyName": self.key_name,
            "SharedAccessKey": self.key,
            "SharedAccessSignature": self.signature,
            "EntityPath": self.entity_path,
            "UseDevelopmentEmulator": "true" if self.is_emulator else None,
        }
        return ";".join(f"{name}={value}" for name, value in fields.items() if value)


@dataclass(frozen=True, slots=True)
class StorageConnection:
    """A parsed connection string of a storage account.

    Attributes:
        blob, queue: endpoints of the services.
        text: the connection string in the form that the SDKs read.
    """

    blob: str
    queue: str
    text: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text.

        Raises:
            ConnectionStringError: the host or an SDK could not use the text, for both services.
        """
        given = _fields(text, first="AccountName")
        if any(name != name.strip() for name in given):
            raise ConnectionStringError("has a blank before or after the name of a part")
        plain = ";".join(f"{name}={value}" for name, value in given.items())
        fields = {name.upper(): value for name, value in given.items()}
        if "USEDEVELOPMENTSTORAGE" in fields:
            _check_development(fields)
            return cls(*_DEVELOPMENT, plain)
        if fields.get("DEFAULTENDPOINTSPROTOCOL", "https") not in {"http", "https"}:
            raise ConnectionStringError("has a DefaultEndpointsProtocol that is not http or https")
        has_credential = _has_credential(fields)
        blob, queue = (_service(fields, name, has_credential) for name in ("Blob", "Queue"))
        if has_credential:
            _check_accounts(fields, blob, queue)
        return cls(blob, queue, plain)


def _fields(text: str, *, first: str) -> dict[str, str]:
    """Return the values by name; of a text without any pair, name the part that comes first.

    No message quotes a part, because a part may be a key. Empty parts have no meaning.
    """
    if problem := unresolved(text):
        raise ConnectionStringError(problem)
    if text.strip()[:1] in {'"', "'"}:
        raise ConnectionStringError("is in quotation marks")
    if "=" not in text:
        raise ConnectionStringError(f"has no {first}")
    found: dict[str, str] = {}
    for part in text.strip().split(";"):
        name, separator, value = part.partition("=")
        if not part.strip():
            continue
        if not separator:
            raise ConnectionStringError("has a part without a value")
        if name.strip().lower() in map(str.lower, map(str.strip, found)):
            raise ConnectionStringError("has two parts of the same name")
        found[name] = value
    return found


def _namespace(endpoint: str) -> str:
    """Return the host in lower case, and the port if there is one."""
    try:
        parts = urlsplit(endpoint if "://" in endpoint else f"sb://{endpoint}")
        usable = is_server(parts) and parts.username is None
    except ValueError:
        usable = False
    if not usable:
        raise ConnectionStringError("has an Endpoint that is not sb://NAMESPACE")
    return parts.netloc.strip().lower().removesuffix(":")


def _check_token(signature: str) -> None:
    values = parse_qs(signature.removeprefix(_SIGNATURE))
    if not signature.startswith(_SIGNATURE) or not {"sr", "sig", "se"} <= set(values):
        raise ConnectionStringError(
            "has a SharedAccessSignature that is not SharedAccessSignature sr=...&sig=...&se=..."
        )


def _check_development(fields: Mapping[str, str]) -> None:
    if fields["USEDEVELOPMENTSTORAGE"] != "true":
        raise ConnectionStringError("has a UseDevelopmentStorage that is not true")
    if "DEVELOPMENTSTORAGEPROXYURI" in fields:
        raise ConnectionStringError(
            "has a DevelopmentStorageProxyUri, which the SDKs do not read (use BlobEndpoint and "
            "QueueEndpoint)"
        )


def _has_credential(fields: Mapping[str, str]) -> bool:
    """Return whether the text has a key or a signature for both services.

    Without one, each endpoint may have its own signature.
    """
    if fields.get("ACCOUNTNAME") and (key := fields.get("ACCOUNTKEY")):
        try:
            decoded = base64.b64decode(_BLANK.sub("", key), validate=True)
        except (binascii.Error, ValueError):
            decoded = b""
        if not decoded:
            raise ConnectionStringError("has an AccountKey that is not base64")
        return True
    if signature := fields.get("SHAREDACCESSSIGNATURE"):
        try:
            check_signature(signature, ("blob", "queue"))
        except EndpointError as error:
            raise ConnectionStringError(f"has a SharedAccessSignature that {error}") from None
        return True
    if "SHAREDACCESSSIGNATURE" in fields:
        raise ConnectionStringError(_NO_CREDENTIAL)
    return False


def _service(fields: Mapping[str, str], name: str, has_credential: bool) -> str:
    """Return the endpoint of a service, from the field of that name or from the account's name."""
    given = fields.get(f"{name}Endpoint".upper())
    if given is None and f"{name}SecondaryEndpoint".upper() in fields:
        raise ConnectionStringError(f"has a {name}SecondaryEndpoint, but no {name}Endpoint")
    if not given and not has_credential and fields.get("ACCOUNTNAME"):
        raise ConnectionStringError(_NO_CREDENTIAL)
    endpoint = given or _default_endpoint(fields, name)
    try:
        account_of(endpoint, name.lower())
        if not has_credential and not has_signature(endpoint, name.lower()):
            raise ConnectionStringError(_NO_CREDENTIAL)
    except EndpointError as error:
        raise ConnectionStringError(f"has a {name}Endpoint that {error}") from None
    return endpoint


def _default_endpoint(fields: Mapping[str, str], name: str) -> str:
    account = fields.get("ACCOUNTNAME")
    if not account:
        raise ConnectionStringError(f"has no AccountName and no {name}Endpoint")
    if not is_account(account):
        raise ConnectionStringError(
            "has an AccountName that is not 3 to 24 lower-case letters and digits"
        )
    suffix = fields.get("ENDPOINTSUFFIX", _SUFFIX)
    if not is_host(suffix) or suffix.partition(".")[0] in {"blob", "queue"}:
        raise ConnectionStringError(f"has an EndpointSuffix that is no domain, such as {_SUFFIX}")
    protocol = "https"
    if f"{name}Endpoint".upper() not in fields and "ENDPOINTSUFFIX" in fields:
        protocol = fields.get("DEFAULTENDPOINTSPROTOCOL", protocol)
    return f"{protocol}://{account}.{name.lower()}.{suffix}"


def _check_accounts(fields: Mapping[str, str], blob: str, queue: str) -> None:
    """Refuse two accounts: a key, or a signature for both services, is that of one account."""
    named = fields.get("ACCOUNTNAME") if fields.get("ACCOUNTKEY") else None
    accounts = {named, account_of(blob, "blob"), account_of(queue, "queue")} - {None}
    if len(accounts) > 1:
        raise ConnectionStringError(
            "has the key or the signature of one account, but names two accounts"
        )
