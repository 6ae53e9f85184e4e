"""Crash loops: which processes have died at an event, careful mode, and the blame for an event."""
