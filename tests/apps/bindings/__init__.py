"""A function app with inputs and outputs, for the host's tests."""
