"""The second act of the scenario `outage`: a dependency of some keys is away for a while.

The act begins when the outage of all keys is over. The app's circuit stays closed, and the keys
that do not need the dependency continue.
"""

AWAY = "bank"
NEEDS_EVERY = 10
"""One key in this many needs the dependency."""
NEEDS_AFTER_PERCENT = 60
"""The share of a key's events that need nothing; the first act has none that needs the bank."""
BEGINS_AFTER_PERCENT = 65
"""The share of all events that are handled before the act begins."""
APP_SETTINGS = {
    # The circuit opens by ten keys and closes again within seconds.
    "DEPENDENCY_BANK_FAILURE_THRESHOLD": "5",
    "DEPENDENCY_BANK_BREAK_SECONDS": "3",
    "DEPENDENCY_BANK_RAMP_SECONDS": "1",
    "DEPENDENCY_BANK_HALF_OPEN_PERMITS": "5",
    "PROCESSING_DEFER_AFTER_SECONDS": "2",
}
"""The app settings of a run with this act."""
