"""Unit tests of processing/batch."""
