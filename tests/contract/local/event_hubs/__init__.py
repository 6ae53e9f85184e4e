"""Contract tests of local/event_hubs."""
