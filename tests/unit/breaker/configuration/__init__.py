"""Unit tests of breaker.configuration."""
