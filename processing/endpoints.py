"""The addresses of the blob and queue services of a storage account."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

from breaker.configuration.hosts import is_server

_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_AZURE = re.compile(r"(?P<account>[a-z0-9]+)\.(?:privatelink\.)?(?P<service>[a-z]+)\..+")
_SERVICES = frozenset({"blob", "queue", "table", "file", "dfs", "web"})
_LETTERS = {"blob": "b", "queue": "q"}
_SAS_NAMES = frozenset(
    {
        *("sig", "sp", "st", "se", "sr", "si", "sip", "spr", "sv", "rscc", "rscd", "rsce", "rscl"),
        *("rsct", "spk", "srk", "epk", "erk", "srt", "ss", "skoid", "sktid", "skt", "ske", "sks"),
        *("skv", "ses", "srh", "srq", "skdutid", "sduoid", "saoid", "suoid", "scid", "sdd"),
    }
)
"""The parameters of a signature; the SDKs take a text with another parameter for a key."""


class EndpointError(ValueError):
    """An unusable endpoint or signature; the message contains no secret and has no subject."""


def is_account(name: str) -> bool:
    """Return whether Azure accepts the name of a storage account."""
    return _ACCOUNT.fullmatch(name) is not None


def account_of(endpoint: str, service: str) -> str | None:
    """Check the endpoint of a service, and return the account that its host names.

    None: the host is not one of Azure's.

    Raises:
        EndpointError: no client can use the endpoint.
    """
    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme in {"http", "https"} and is_server(parts) and parts.username is None
    except ValueError:
        usable = False
    if not usable or not endpoint.isprintable() or parts.fragment:
        raise EndpointError("is no http(s) address")
    found = _AZURE.fullmatch(parts.hostname or "")
    if found is None or found["service"] not in _SERVICES:
        return None
    if found["service"] != service:
        raise EndpointError(f"is the address of the {found['service']} service")
    if parts.path.strip("/"):
        raise EndpointError("has a path; remove it, so that the address is that of the service")
    return found["account"]


def has_signature(endpoint: str, service: str) -> bool:
    """Return whether an endpoint carries a signature.

    Raises:
        EndpointError: the signature is not one for this service.
    """
    query = urlsplit(endpoint).query
    if "sig" not in parse_qs(query):
        return False
    check_signature(query, (service,))
    return True


def check_signature(text: str, services: tuple[str, ...]) -> None:
    """Check a shared access signature, with or without a `?` before it.

    Args:
        text: the signature.
        services: the services that it must be valid for.

    Raises:
        EndpointError: the text is no signature, or not one for these services.
    """
    values = parse_qs(text.lstrip("?"))
    if "sig" not in values or not set(values) <= _SAS_NAMES:
        raise EndpointError("is no signature, sv=...&ss=bq&srt=sco&sp=...&se=...&sig=...")
    for service in services:
        # Only the signature of an account has the field; the others are for one container or queue.
        if "ss" in values and _LETTERS[service] not in values["ss"][0]:
            raise EndpointError(f"is not valid for the {service} service (ss)")
    if "srt" in values and "o" not in values["srt"][0]:
        raise EndpointError("is not valid for messages and blobs (srt)")
