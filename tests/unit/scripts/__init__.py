"""Unit tests of the scripts."""
