"""Tests on real services of console."""
