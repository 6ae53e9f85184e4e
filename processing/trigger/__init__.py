"""Decoding of the Event Hubs trigger's data: what azure-functions does slowly, done faster."""


def install() -> None:
    """Replace the slow parts of azure-functions; a part that has changed keeps its own code."""
    from processing.trigger import events, times  # noqa: PLC0415 - a package imports no member

    times.install()
    events.install()
