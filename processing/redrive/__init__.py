"""Redrive: replaying poison and parked events, or discarding them on record."""
