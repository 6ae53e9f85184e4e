"""Errors of the console; each message says what was wrong and what is accepted."""

from __future__ import annotations

from breaker.configuration.errors import ConfigurationError


class BackplaneError(Exception):
    """The backplane did not answer."""


class NotReaderError(Exception):
    """The reader's lease is somebody else's: what it wanted to publish is published by that one."""


class CoordinationError(Exception):
    """Whoever keeps the leases did not answer."""


class OperationsError(Exception):
    """The poison queue, the parked lists or the hub can't be used; says why."""


class ConsoleSettingsError(ConfigurationError):
    """A setting of the console that cannot be used; the message says what it takes."""
