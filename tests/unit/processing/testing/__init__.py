"""Unit tests of processing/testing."""
