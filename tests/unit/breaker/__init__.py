"""Unit tests of breaker."""
