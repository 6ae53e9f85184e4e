"""Unit tests of processing/deferring."""
