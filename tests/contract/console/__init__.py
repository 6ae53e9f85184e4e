"""Contract tests of console."""
