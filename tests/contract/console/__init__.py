"""Contract tests of the console."""
