"""Unit tests of local/event_hubs."""
