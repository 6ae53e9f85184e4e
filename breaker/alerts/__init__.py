"""Alerts of a circuit's state changes, and their delivery from the outbox."""
