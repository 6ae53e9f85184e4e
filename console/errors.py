"""Errors of the console; each message says what was wrong and what is accepted."""

from __future__ import annotations

from breaker.configuration.errors import ConfigurationError


class BackplaneError(Exception):
    """The backplane did not answer."""


class NotReaderError(Exception):
    """Another instance holds the reader's lease and publishes in place of this instance."""


class CoordinationError(Exception):
    """The store of the leases did not answer."""


class OperationsError(Exception):
    """The poison queue, the parked lists or the hub cannot be used; the message says why."""


class ConsoleSettingsError(ConfigurationError):
    """A setting of the console that cannot be used; the message says what it takes."""
