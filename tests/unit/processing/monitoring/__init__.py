"""Unit tests of processing/monitoring."""
