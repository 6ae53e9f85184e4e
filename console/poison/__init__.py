"""The poison queue and parked events: list, search, redrive, discard."""
