"""Storage access of this host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.functions_host.app_settings import AppSettings

QUICK_RETRIES: dict[str, Any] = {
    "retry_total": 2,
    "initial_backoff": 0.2,
    "increment_base": 1,
    "random_jitter_range": 0.1,
}
"""Client options with short delays: the SDK's default of 15 s is longer than a lease here.

Every caller retries by itself, so a short limit is safe.
"""


def queue_of(binding: Mapping[str, Any], function: str, settings: AppSettings) -> tuple[str, str]:
    """Return the connection string and the name of a queue binding's queue.

    Raises:
        SettingsError: the binding names a setting that is not set.
    """
    where = f"function {function!r}"
    connection = str(binding.get("connection") or "AzureWebJobsStorage")
    return (
        settings.storage(connection, where),
        settings.expand(str(binding["queueName"]), where).lower(),
    )
