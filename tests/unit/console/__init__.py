"""Unit tests of console."""
