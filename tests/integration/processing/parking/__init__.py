"""Tests on real services of processing/parking."""
