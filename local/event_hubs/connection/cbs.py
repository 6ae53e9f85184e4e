"""The `$cbs` node, which checks tokens and stores the hubs that a connection may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from proton import Message, int32, symbol

from local.event_hubs.connection.request_reply import text
from local.event_hubs.connection.tokens import Grant, TokenError, check_token
from local.event_hubs.errors import AUTH_FAILED, NOT_ALLOWED, UNAUTHORIZED, AmqpError


class Authorization:
    """The access that the tokens of one connection grant; full access without configured keys."""

    def __init__(self, keys: Mapping[str, str], now: Callable[[], float]) -> None:
        self._keys = keys
        self._now = now
        self._grants: dict[str, Grant] = {}

    def answer(self, request: Message) -> Message:
        """Answer a put-token request with a status.

        Raises:
            AmqpError: `amqp:not-allowed`, the request has another operation.
        """
        properties = request.properties
        if text(properties, "operation") != "put-token":
            raise AmqpError(
                NOT_ALLOWED,
                f"$cbs accepts only the operation put-token, got {properties.get('operation')!r}.",
            )
        if not self._keys:
            return _status(202, "Accepted")
        now = self._now()
        try:
            grant = check_token(str(request.body), self._keys, now)
        except TokenError as error:
            reply = _status(401, str(error))
            reply.properties["error-condition"] = symbol(AUTH_FAILED)
            return reply
        self._grants = {path: old for path, old in self._grants.items() if now < old.expires_at}
        self._grants[grant.path] = grant
        return _status(202, "Accepted")

    def allows(self, hub: str) -> bool:
        """Return whether an unexpired token grants access to a hub."""
        now = self._now()
        return not self._keys or any(grant.covers(hub, now) for grant in self._grants.values())

    def require(self, hub: str) -> None:
        """Check that a token grants access to a hub.

        Raises:
            AmqpError: `amqp:unauthorized-access`, no unexpired token covers the hub.
        """
        if not self.allows(hub):
            raise AmqpError(
                UNAUTHORIZED, f"Unauthorized access. A token with claims for '{hub}' is required."
            )


def _status(code: int, description: str) -> Message:
    return Message(properties={"status-code": int32(code), "status-description": description})
