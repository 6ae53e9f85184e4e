"""Parked lists: events that wait, in order, behind a poisoned event of their key."""
