"""Contract tests of breaker."""
