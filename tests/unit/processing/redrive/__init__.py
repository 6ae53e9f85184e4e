"""Unit tests of processing/redrive."""
