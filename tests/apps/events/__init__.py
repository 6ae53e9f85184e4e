"""A function app for the host's tests."""
