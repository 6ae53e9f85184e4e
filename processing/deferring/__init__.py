"""Deferring: a failing key steps aside, and replays bring the key back."""
