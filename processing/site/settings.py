"""The address of the function app in Azure Resource Manager (ARM)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from breaker.configuration.lookup import value_of
from breaker.configuration.references import unresolved
from processing.errors import SettingsError

SETTING = "FUNCTION_APP_URL"
TAKES = (
    "https://management.azure.com/subscriptions/<id>/resourceGroups/<group>/providers/"
    "Microsoft.Web/sites/<name>"
)
NOT_SET = (
    f"{SETTING} is not set, so the app can be neither seen nor stopped nor started here; "
    f"it takes {TAKES}"
)

_PATH = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Web/sites/[A-Za-z0-9-]+",
    re.IGNORECASE,
)
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class SiteSettings:
    """The address of one function app.

    Attributes:
        url: the address, without a slash at its end.
        audience: the origin of the address and "/", which the token is requested for; "" for the
            local stack, which takes no token.
    """

    url: str
    audience: str

    @property
    def source(self) -> str:
        """The name of the service that answers, for the operator."""
        return "Azure" if self.audience else "the local stack"

    @classmethod
    def from_mapping(cls, settings: Mapping[str, str]) -> SiteSettings | None:
        """Read FUNCTION_APP_URL; return None if the setting is missing or empty.

        Raises:
            SettingsError: the address is not the resource of a function app, or is plain http to
                another machine.
        """
        url = value_of(settings, SETTING).rstrip("/")
        if not url:
            return None
        if problem := unresolved(url):
            raise SettingsError(f"the app setting {SETTING} {problem}; it takes {TAKES}")
        try:
            parts = urlsplit(url)
            host = parts.hostname or ""
            usable = bool(_AUTHORITY.fullmatch(parts.netloc)) and parts.port != 0
        except ValueError:
            host, usable = "", False
        rest = bool(parts.query or parts.fragment) if usable else True
        if not usable or rest or not _PATH.fullmatch(parts.path):
            raise SettingsError(f"the app setting {SETTING} is {url!r:.300}; it takes {TAKES}")
        if parts.scheme == "https":
            return cls(url, f"https://{parts.netloc}/")
        if parts.scheme == "http" and _is_loopback(host):
            return cls(url, "")
        raise SettingsError(
            f"the app setting {SETTING} is {url!r:.300}; it takes https, because a token is sent; "
            "plain http is only for the local stack's address, such as 127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
