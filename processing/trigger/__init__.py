"""Decoding of the Event Hubs trigger's data: what azure-functions does slowly, done faster."""

import logging

logger = logging.getLogger(__name__)


def install() -> None:
    """Replace the slow parts of azure-functions; a part that has changed keeps its own code."""
    try:
        from processing.trigger import events, times  # noqa: PLC0415 - a package imports no member
    except ImportError as error:  # a future version of the library may have other modules
        logger.warning(
            "The decoding of azure-functions is not replaced: %s. Decoding an event may take "
            "200 us longer; everything else works",
            error,
        )
        return
    times.install()
    events.install()
