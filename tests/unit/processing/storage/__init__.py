"""Unit tests of processing/storage."""
