"""Link addresses: `amqps://host/hub/ConsumerGroups/cg/Partitions/0` and shorter forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from local.event_hubs.errors import entity_not_found

CBS = "$cbs"
MANAGEMENT = "$management"


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of a link address.

    Attributes:
        hub: the event hub, or `$cbs` or `$management`.
        partition: a partition id, or None.
        group: a consumer group, or None.
    """

    hub: str
    partition: str | None = None
    group: str | None = None

    @property
    def is_service_node(self) -> bool:
        """Return whether the address is a node that answers requests."""
        return self.hub in (CBS, MANAGEMENT)


def address_of(link: Any) -> Address:
    """Parse the address of a link.

    Raises:
        AmqpError: as in `parse_address`.
    """
    # The endpoint's receiver is the peer's sender, whose target is the address.
    terminus = link.remote_target if link.is_receiver else link.remote_source
    return parse_address(terminus.address)


def parse_address(address: str | None) -> Address:
    """Parse a source or target address; scheme and host are ignored.

    Raises:
        AmqpError: `amqp:not-found`, the address has an unknown form.
    """
    text = address or ""
    try:
        path = urlsplit(text).path if "://" in text else text
    except ValueError:
        raise entity_not_found(text) from None
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if parts[-1].lower() in (CBS, MANAGEMENT) and len(parts) <= 2:
        return Address(parts[-1].lower())
    keywords = [part.lower() for part in parts[1::2]]
    if parts[0] and all(parts):
        if len(parts) == 1:
            return Address(parts[0])
        if len(parts) == 3 and keywords == ["partitions"]:
            return Address(parts[0], partition=parts[2])
        if len(parts) == 5 and keywords == ["consumergroups", "partitions"]:
            return Address(parts[0], partition=parts[4], group=parts[2])
    raise entity_not_found(text)
