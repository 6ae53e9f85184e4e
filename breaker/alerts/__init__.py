"""Alerts: what the world is told when the circuit moves, and how it is made sure."""
