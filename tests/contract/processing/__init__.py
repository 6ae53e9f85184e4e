"""Contract tests of processing."""
