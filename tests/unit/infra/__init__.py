"""Unit tests of infra."""
