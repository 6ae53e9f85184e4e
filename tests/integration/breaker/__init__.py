"""Tests on real services of breaker."""
