"""Errors of the console."""

from __future__ import annotations

from breaker.configuration.errors import ConfigurationError


class BackplaneError(Exception):
    """The backplane failed or did not answer in time."""


class NotReaderError(Exception):
    """Another instance holds the reader's lease and publishes in place of this instance."""


class CoordinationError(Exception):
    """The store of leases, marks and counters failed or did not answer in time."""


class OperationsError(Exception):
    """The poison queue, the parked lists or the hub cannot be used; the message names the cause."""


class ConsoleSettingsError(ConfigurationError):
    """A setting of the console is invalid; the message names the accepted values."""
