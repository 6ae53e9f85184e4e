"""Unit tests of processing/cli."""
