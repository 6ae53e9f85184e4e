"""Unit tests of processing/poison."""
