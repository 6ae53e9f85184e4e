"""Tests on real services of loadtest."""
