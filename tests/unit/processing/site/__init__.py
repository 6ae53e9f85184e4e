"""Unit tests of processing/site."""
