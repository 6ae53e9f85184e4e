"""Stores of circuits, in memory and in Redis, with the same rules."""
