"""A function app that reads two hubs, for the host's tests."""
