"""Unit tests of processing/crashes."""
