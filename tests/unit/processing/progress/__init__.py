"""Unit tests of processing/progress."""
