"""The handlers that run inside the app under test, in some scenarios only."""
