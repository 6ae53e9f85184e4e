"""Unit tests of loadtest."""
