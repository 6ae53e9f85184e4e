"""Settings of the console."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Annotated, ClassVar

from breaker.configuration.errors import ConfigurationError
from breaker.configuration.fields import Bounds, Each, MinLength, Secret
from breaker.configuration.hosts import is_host
from breaker.configuration.resource_names import group_name
from breaker.configuration.settings import Settings
from console.errors import ConsoleSettingsError
from console.origins import Origin

_TOKEN = re.compile(r"[ -~]+")


def _origin(text: str) -> str:
    try:
        return str(Origin.parse(text.rstrip("/")))
    except ValueError:
        raise ValueError("https://host[:port]") from None


def _callback_host(text: str) -> str:
    host = text.lower()
    if not is_host(host.removeprefix("*.")):
        raise ValueError("host names or *.domain")
    return host


def _proxy(text: str) -> str:
    try:
        # uvicorn compares another text with the address of a caller, which it never equals.
        if text != "*":
            ip_network(text)
    except ValueError:
        raise ValueError("IP addresses or networks such as 10.0.0.0/8") from None
    return text


@dataclass(frozen=True, slots=True)
class ConsoleSettings(Settings):
    """Settings of the console, in addition to the circuit's settings.

    Attributes:
        token: the bearer token, which operators also use to log in; at least 16 characters.
        callback_hosts: hosts that may be called back, as exact names or `*.domain`. Only loopback
            addresses may be called over plain http.
        delivery_seconds: pause between two deliveries of remaining alerts and callbacks.
        repeat_seconds: time after an opening until its alert is published again, if no workflow run
            has asked for an approval; 0 means never.
        origins: additional origins that pages may act from, such as a load balancer's.
        proxies: addresses of load balancers whose X-Forwarded-For and -Proto are trusted; `*`: all.
        easy_auth: whether to trust the X-MS-CLIENT-PRINCIPAL-NAME header and, where this has lost
            letters, the X-MS-CLIENT-PRINCIPAL header. Set it only where all requests pass through
            Azure's authentication, which removes both headers from what a client sends.
        consumer_group: the consumer group of the live tail, used by no other reader.
        lease_seconds: how long a function host's ownership of a partition lasts.
        sockets_max: most live connections of one instance.
    """

    PREFIX: ClassVar[str] = "CONSOLE_"
    ERROR: ClassVar[type[ConfigurationError]] = ConsoleSettingsError

    token: Annotated[str, Secret(), MinLength(16)] = field(repr=False)
    callback_hosts: Annotated[tuple[str, ...], Each(_callback_host)] = ("127.0.0.1", "localhost")
    delivery_seconds: Annotated[float, Bounds(0.1, 3_600)] = 5.0
    repeat_seconds: Annotated[float, Bounds(0, 86_400)] = 120.0
    origins: Annotated[tuple[str, ...], Each(_origin)] = ()
    proxies: Annotated[tuple[str, ...], Each(_proxy)] = ()
    easy_auth: bool = False
    consumer_group: str = "console"
    lease_seconds: Annotated[float, Bounds(1, 3_600)] = 120.0
    sockets_max: Annotated[int, Bounds(1, 100_000)] = 2_000

    def check_together(self) -> None:
        """Check the token's characters, the consumer group, and that `*` is the only proxy."""
        if not _TOKEN.fullmatch(self.token):
            raise ConsoleSettingsError(
                "CONSOLE_TOKEN has a character that a header cannot have: it takes at least 16 "
                "printable ASCII characters"
            )
        try:
            group_name(self.consumer_group)
        except ValueError as error:
            raise ConsoleSettingsError(
                f"CONSOLE_CONSUMER_GROUP is {self.consumer_group!r:.100}: it takes {error}"
            ) from None
        if "*" in self.proxies and len(self.proxies) > 1:
            raise ConsoleSettingsError(
                "CONSOLE_PROXIES has '*' and addresses: it takes '*', which trusts all, or IP "
                "addresses or networks such as 10.0.0.0/8, with commas"
            )
