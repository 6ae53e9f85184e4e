"""Contract tests of local."""
