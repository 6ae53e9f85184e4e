"""Tests on real services of processing/deferring."""
