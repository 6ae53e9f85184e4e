"""Handlers that tests deploy."""
